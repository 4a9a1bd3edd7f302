"""The model card of a training, and the tool that publishes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.hub import from_pretrained
from mmseg_encnet.workbench.studies.image_areas import mean_iou
from mmseg_encnet.workbench.studies.statistics import bootstrap_interval, paired_interval

pytest.importorskip('safetensors')


def test_an_interval_is_a_difference_from_nothing():
    rng = np.random.default_rng(0)
    areas = rng.integers(1, 50, (20, 3, 4))
    low, high = bootstrap_interval(areas, mean_iou)
    assert low < mean_iou(areas.sum(axis=0)) < high

    def without_baseline(sums):
        return np.nan_to_num(mean_iou(sums))

    with np.errstate(all='ignore'):
        nothing = np.zeros_like(areas)
        assert (low, high) == pytest.approx(paired_interval([areas], [nothing], without_baseline))


def test_publish_a_training(run_tool, tiny_config, tiny_options, tmp_path):
    pytest.importorskip('huggingface_hub')
    torch.manual_seed(0)
    model = MODELS.build(tiny_config().model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'tiny.pth')
    Image.new('RGB', (64, 48), (9, 99, 9)).save(tmp_path / 'mine.png')
    arguments = ('push_to_hub', MSRC21, 'tiny.pth', 'me/tiny', '--folder-only')

    result = run_tool(*arguments, '--sheet', 'mine.png', '--license', 'mit', options=tiny_options)
    assert result.status == 0, result.err
    assert 'folder: tiny' in result.out
    folder = tmp_path / 'tiny'
    assert {path.name for path in folder.iterdir()} == {
        'README.md',
        'config.json',
        'context_sheet.png',
        'model.safetensors',
    }
    assert Image.open(folder / 'context_sheet.png').size[0] > 100
    text = (folder / 'README.md').read_text()
    header = yaml.safe_load(text.split('---')[1])
    assert header['license'] == 'mit'
    assert header['datasets'] == ['msrc21']
    (entry,) = header['model-index'][0]['results']
    found = {metric['type']: metric['value'] for metric in entry['metrics']}
    assert {'mean_iou', 'accuracy'} <= found.keys()
    for words in (
        '## Data',
        'optimizer: SGD',
        '2 iterations',
        '2 images',
        ' to ',
        '](context_sheet.png)',
    ):
        assert words in text, words
    assert str(tmp_path) not in text
    from huggingface_hub import ModelCard

    assert ModelCard(text).data.eval_results[0].metric_type == 'mean_iou'
    assert from_pretrained(folder, device='cpu').predict(str(tmp_path / 'mine.png'))

    # An edited card is kept; without data the card says so.
    (folder / 'README.md').write_text('edited')
    missing = dict(tiny_options, data_root=str(tmp_path / 'none'))
    result = run_tool(*arguments, options=missing)
    assert result.status == 0, result.err
    assert (folder / 'README.md').read_text() == 'edited'
    (folder / 'README.md').unlink()
    result = run_tool(*arguments, options=missing)
    assert result.status == 0, result.err
    assert 'missing from the model card: the results: ' in result.err
    assert 'Not measured.' in (folder / 'README.md').read_text()
