"""The toolbox's own inference interfaces with a config and a checkpoint of this project."""

from __future__ import annotations

from pathlib import Path

import mmcv
import numpy as np
import pytest
from mmseg.apis import MMSegInferencer, inference_model, init_model
from PIL import Image

from mmseg_encnet.datasets import MSRC21Dataset
from mmseg_encnet.running.processes import run_training

CLASSES = MSRC21Dataset.METAINFO['classes']
PALETTE = MSRC21Dataset.METAINFO['palette']


@pytest.fixture
def trained(tiny_config) -> dict[str, str]:
    """Return the config and the checkpoint written by a training run."""
    # The toolbox keeps one visualizer per name and process, with its first folder.
    cfg = tiny_config({'visualizer.name': 'apis'})
    run_training(cfg)
    return dict(
        config=str(Path(cfg.work_dir, 'config.py')),
        checkpoint=str(Path(cfg.work_dir, 'iter_2.pth')),
    )


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / 'photograph.png'
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_inferencer_has_our_classes_and_colours(trained, photograph, tmp_path):
    inferencer = MMSegInferencer(
        trained['config'], trained['checkpoint'], device='cpu', show_progress=False
    )
    # Its fallback, the classes of Cityscapes, has indices up to 18.
    for index in (0, 18, 19, 20):
        bias = inferencer.model.decode_head.conv_seg.bias.data
        bias.zero_()
        bias[index] = 1e4
        result = inferencer(
            str(photograph),
            return_vis=True,
            opacity=1.0,
            with_labels=False,
            out_dir=str(tmp_path / f'{index}'),
        )

        assert result['predictions'].shape == (40, 56)
        assert np.all(result['predictions'] == index)
        assert np.all(result['visualization'] == PALETTE[index])
        written = mmcv.imread(tmp_path / f'{index}' / 'vis' / 'photograph.png', channel_order='rgb')
        assert np.all(written == PALETTE[index])

    assert tuple(inferencer.visualizer.dataset_meta['classes']) == CLASSES
    assert list(inferencer.visualizer.dataset_meta['palette']) == PALETTE


def test_init_model_and_inference_model(trained, photograph):
    model = init_model(trained['config'], trained['checkpoint'], device='cpu')
    assert tuple(model.dataset_meta['classes']) == CLASSES
    assert list(model.dataset_meta['palette']) == PALETTE

    from_file = inference_model(model, str(photograph))
    from_pixels = inference_model(model, mmcv.imread(photograph))
    assert from_file.pred_sem_seg.data.shape == (1, 40, 56)
    assert from_file.pred_sem_seg.data.equal(from_pixels.pred_sem_seg.data)
    assert 0 <= from_file.pred_sem_seg.data.min() <= from_file.pred_sem_seg.data.max() < 21
