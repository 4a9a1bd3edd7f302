"""The tools that draw and count data sets, as started on the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from tiny_setup import MSRC21

BROWSE, STATS = 'analysis_tools/browse_dataset', 'analysis_tools/dataset_stats'


def test_browse_draws_one_sheet(run_tool, tiny_options, tmp_path):
    result = run_tool(BROWSE, MSRC21, '--count', 3, '--out', 'new/sheet.png', options=tiny_options)
    assert result.status == 0, result.err
    assert 'drew 3 of 4 images to new/sheet.png' in result.out
    assert len(np.unique(np.array(Image.open(tmp_path / 'new' / 'sheet.png')))) > 50


def test_browse_draws_a_folder(run_tool, tiny_options, tmp_path):
    result = run_tool(BROWSE, MSRC21, '--split', 'val', '--out', 'pictures', options=tiny_options)
    assert result.status == 0, result.err
    names = sorted(path.name for path in (tmp_path / 'pictures').iterdir())
    assert names == ['0000_0.png', '0001_1.png']


def test_stats_leave_pictures_and_numbers(run_tool, tiny_options, tmp_path):
    result = run_tool(STATS, 'encnet_r18_msrc21', '--jobs', 2, options=tiny_options)
    assert result.status == 0, result.err
    folder = tmp_path / 'work_dirs' / 'encnet_r18_msrc21' / 'statistics_train'
    assert {path.name for path in folder.iterdir()} == {
        'frequency.png',
        'classes_per_image.png',
        'co_occurrence.png',
        'statistics.json',
    }
    content = json.loads((folder / 'statistics.json').read_text())
    assert content['images'] == 4
    printed = re.search(r'class_weight=(\[.*?\])', result.out)[1]
    assert json.loads(printed) == content['class_weight']
    # Every line of the progress bar shows the progress.
    assert '4/4' in result.err


def test_embedded_scenes(run_tool, tmp_path):
    options = {'val_dataloader.dataset.num_scenes': 2}
    config = 'encnet_r18_context-scenes'
    drawn = run_tool(BROWSE, config, '--split', 'val', '--count', 2, options=options)
    counted = run_tool(STATS, config, '--split', 'val', '--jobs', 1, options=options)
    assert drawn.status == counted.status == 0, drawn.err + counted.err
    folder = tmp_path / 'work_dirs' / config
    assert (folder / 'samples_val.png').is_file()
    content = json.loads((folder / 'statistics_val' / 'statistics.json').read_text())
    assert content['labelled_pixels'] == 2 * 128 * 256


def break_label(root):
    path = root / 'labels' / 'train' / '1.png'
    label = np.array(Image.open(path))
    label[0, 0] = 21
    Image.fromarray(label).save(path)


def empty_images(root):
    for path in (root / 'images' / 'train').iterdir():
        path.unlink()


@pytest.mark.parametrize(
    'break_it, arguments, words',
    [
        (None, ['--split', 'trainval'], ["'trainval'", 'train, val, test']),
        (empty_images, [], ['no images', 'images/train']),
        (break_label, [], ['labels/train/1.png', '21', '0 to 20']),
        (
            lambda root: (root / 'labels' / 'train' / '1.png').unlink(),
            [],
            ['labels/train/1.png', 'missing'],
        ),
        (lambda root: root.rename(root.with_name('moved')), [], ['data root', 'does not exist']),
    ],
)
@pytest.mark.parametrize('tool', [BROWSE, STATS])
def test_mistakes_end_in_one_sentence(
    tool, break_it, arguments, words, run_tool, tiny_data, tiny_options
):
    if break_it:
        break_it(tiny_data)
    if tool == STATS:
        arguments = [*arguments, '--jobs', 2 if break_it is break_label else 1]
    sentence = run_tool(tool, MSRC21, *arguments, options=tiny_options).sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize('tool, out', [(BROWSE, 'sheet.gif'), (STATS, 'a_file')])
def test_places_that_cannot_be_written(tool, out, run_tool, tiny_options, tmp_path):
    (tmp_path / 'a_file').write_text('')
    assert out in run_tool(tool, MSRC21, '--out', out, options=tiny_options).sentence
