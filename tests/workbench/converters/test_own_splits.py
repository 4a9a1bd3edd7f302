"""Own data: splits by lists, by folders, and drawn by groups; configs, statistics and the tool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from own_formats import NAMES, draw_set, index_png, labelme, save
from tiny_setup import SHRUNK

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.conversion import Converted, convert_own
from mmseg_encnet.workbench.converters.own.options import Reading, Splitting
from mmseg_encnet.workbench.converters.own.splits import draw_splits

ONE_JOB = Reading(jobs=1)
TOOL = 'dataset_converters/own'


def split_names(converted: Converted) -> dict[str, list[str]]:
    """Return the names of the images of each split."""
    root = converted.root / 'labels'
    return {
        folder.name: sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))
        for folder in sorted(root.iterdir())
    }


@pytest.mark.parametrize(
    'line', ['{}', '{}.jpg', './images/{}.jpg labels/{}.png', '/home/me/images/{}.jpg', 'images/{}']
)
def test_lists(line: str, tmp_path: Path) -> None:
    data = draw_set()
    index_png(tmp_path / 'in', data)
    lists = tmp_path / 'lists'
    lists.mkdir()
    for split, numbers in (('train', (0, 3)), ('val', (1,)), ('test', (4,))):
        names = [f'img_{number:03d}' for number in numbers]
        (lists / f'{split}.txt').write_text(
            ''.join(line.replace('{}', name) + '\n' for name in names)
        )
    converted = convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB, Splitting([lists]))
    assert split_names(converted) == {
        'test': ['img_004.png'],
        'train': ['img_000.png', 'img_003.png'],
        'val': ['img_001.png'],
    }
    assert 'are in no list' in converted.summary.notes[0]
    # Lists in the folder are found.
    lists.rename(tmp_path / 'in' / 'splits')
    found = convert_own(tmp_path / 'in', tmp_path / 'found', ONE_JOB)
    assert split_names(found) == split_names(converted)


def test_faulty_lists(tmp_path: Path) -> None:
    index_png(tmp_path / 'in', draw_set())
    train, val = tmp_path / 'train.txt', tmp_path / 'val.txt'
    train.write_text('img_000\nimg_001\nimg_009\n')
    val.write_text('img_001\n')
    with pytest.raises(UserError, match='2 of 4 listed images') as refused:
        convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB, Splitting([train, val]))
    reasons = [problem.reason for problem in refused.value.problems]
    assert reasons == [
        'lists img_009, which is not among the images',
        'lists img_001, which is also listed for train',
    ]
    with pytest.raises(UserError, match='got no list for val'):
        convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB, Splitting([train]))


def test_names_that_repeat_in_splits(tmp_path: Path) -> None:
    for split, (image, label) in zip(('train', 'train/more', 'val'), draw_set().values()):
        save(tmp_path / f'in/images/{split}/1.jpg', image)
        save(tmp_path / f'in/labels/{split}/1.png', label)
    converted = convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB)
    assert split_names(converted) == {
        'train': ['more/1.png', 'train/1.png'],
        'val': ['val/1.png'],
    }


def test_groups_stay_together(tmp_path: Path) -> None:
    for index, (image, label) in enumerate(draw_set(10).values()):
        save(tmp_path / f'in/images/{"abcde"[index // 2]}_{index % 2}.jpg', image)
        save(tmp_path / f'in/labels/{"abcde"[index // 2]}_{index % 2}.png', label)
    splitting = Splitting(groups='^[^_]+', shares=(0.6, 0.2, 0.2), seed=4)
    first = split_names(convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB, splitting))
    assert {split: len(names) for split, names in first.items()} == dict(train=6, val=2, test=2)
    for names in first.values():
        assert all({f'{name[0]}_0.png', f'{name[0]}_1.png'} <= set(names) for name in names)
    again = split_names(convert_own(tmp_path / 'in', tmp_path / 'again', ONE_JOB, splitting))
    assert again == first
    with pytest.raises(UserError, match=r"--groups 'x' matches 0 of 10 images, not images/a_0"):
        convert_own(tmp_path / 'in', tmp_path / 'x', ONE_JOB, Splitting(groups='x'))
    with pytest.raises(UserError, match=r'got 1 groups of images for 2 splits'):
        convert_own(tmp_path / 'in', tmp_path / 'x', ONE_JOB, Splitting(groups='.*/'))
    with pytest.raises(UserError, match='is not a regular expression'):
        Splitting(groups='(')
    with pytest.raises(UserError, match=r'got 0\.5 0 0\.5'):
        Splitting(shares=(0.5, 0.0, 0.5))


@pytest.mark.parametrize('seed', range(5))
def test_a_draw_gives_every_split_its_share_of_rare_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f'{index}' for index in range(200)]
    presence = {
        name: np.array([True, rng.random() < 0.5, index < 20, index < 5])
        for index, name in enumerate(names)
    }
    splitting = Splitting(shares=(6, 2, 2), seed=seed)
    result = draw_splits({name: name for name in names}, presence, splitting)
    table = {
        split: sum(presence[n].astype(int) for n in names if result[n] == split)
        for split in ('train', 'val', 'test')
    }
    assert table['train'].tolist()[::3] == [120, 3]
    assert [table[split][2] for split in table] == [12, 4, 4]
    assert [table[split][3] for split in table] == [3, 1, 1]


def test_without_validation_folders_some_training_images_validate(tmp_path: Path) -> None:
    for name, (image, label) in draw_set().items():
        split = 'test' if name == 'img_000' else 'train'
        save(tmp_path / f'in/{split}/{name}.jpg', image)
        save(tmp_path / f'in/{split}/{name}.png', label)
    converted = convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB)
    assert converted.summary.counts == dict(train=3, val=1, test=1)
    assert split_names(converted)['test'] == ['img_000.png']


def test_statistics(tmp_path: Path) -> None:
    data = draw_set()
    labelme(tmp_path / 'in', data)
    converted = convert_own(tmp_path / 'in', tmp_path / 'out', ONE_JOB)
    statistics = json.loads((converted.root / 'statistics.json').read_text())
    splits = statistics['splits'].values()
    assert sum(split['images'] for split in splits) == 5
    pixels = np.sum([split['pixels'] for split in splits], axis=0)
    expected = sum(np.bincount(label.ravel(), minlength=4) for _, label in data.values())
    np.testing.assert_array_equal(pixels, expected)
    assert statistics['sizes']['width'] == dict(min=36, median=36, max=44)
    text = converted.summary.text()
    assert 'labels: labelme' in text and '3 door' in text


def test_the_tool_and_a_training(tmp_path: Path, run_tool) -> None:
    index_png(tmp_path / 'in', draw_set())
    (tmp_path / 'in/classes.txt').write_text('\n'.join(NAMES))
    result = run_tool(TOOL, 'in', 'out', '--jobs', 1, '--seed', 1)
    assert result.status == 0, result.err
    assert 'images: 4 train, 1 val' in result.out
    assert 'python tools/train.py out/encnet_lite0.py' in result.out
    for name in ('encnet_lite0', 'encnet_r50'):
        cfg = load_config(f'out/{name}.py')
        assert cfg.train_dataloader.dataset.metainfo['classes'] == NAMES
        assert cfg.model.decode_head.num_classes == 4
    # A moved folder is still complete.
    Path('out').rename('moved')
    options = {
        key: value
        for key, value in SHRUNK.items()
        if not key.startswith(('model.backbone', 'model.decode_head', 'model.auxiliary'))
    }
    options |= {
        'load_from': None,
        'model.backbone.init_cfg': None,
        'train_dataloader.batch_size': 2,
    }
    result = run_tool('train', 'moved/encnet_lite0.py', '--work-dir', 'work', options=options)
    assert result.status == 0, result.err
    assert list(Path('work').glob('iter_2.pth'))


def test_the_tool_lists_all_problems(tmp_path: Path, run_tool) -> None:
    index_png(tmp_path / 'in', draw_set())
    for name in ('img_001', 'img_004'):
        (tmp_path / f'in/labels/{name}.png').write_bytes(b'no image')
    result = run_tool(TOOL, 'in', 'deep/out', '--jobs', 2)
    assert result.sentence.startswith('2 of 5 labels cannot be used, first in/labels/img_001.png')
    assert result.err.count('img_004.png: the file cannot be read') == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']
    result = run_tool(TOOL, 'in', 'out', '--shares', 1, 0, 0)
    assert result.sentence.startswith('shares must be three numbers')
