"""Training and prediction work on images of any size, from a single pixel to a long strip."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate
from mmengine.runner import set_random_seed
from mmseg.models import BaseSegmentor
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21, SHRUNK

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import load_segmentor

SIDES = st.one_of(st.sampled_from([1, 2, 3, 7, 47, 48, 49, 64]), st.integers(1, 300))
SIZES = st.one_of(
    st.tuples(SIDES, SIDES),
    st.sampled_from([(1, 1), (1, 2048), (2048, 1), (2048, 64), (64, 2048), (1, 64), (64, 1)]),
)


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('sizes')


def draw(root: Path, size: tuple[int, int], ignored: float = 0.1) -> Path:
    """Write the only image of the data set, and its label."""
    rng = np.random.default_rng(size)
    label = rng.integers(0, 21, size, dtype=np.uint8)
    label[rng.random(size) < ignored] = 255
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for kind, content, name in (('images', pixels, 'a.jpg'), ('labels', label, 'a.png')):
        path = root / kind / 'train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
    return root / 'images' / 'train' / 'a.jpg'


def config(root: Path):
    return load_config(str(MSRC21), dict(SHRUNK, data_root=str(root)))


def vanishes(size: tuple[int, int]) -> bool:
    """Return whether the short side vanishes when the long one is resized to 64 pixels."""
    return 64 * min(size) / max(size) < 0.5


def build(root: Path) -> BaseSegmentor:
    torch.manual_seed(0)
    return MODELS.build(config(root).model)


@cases(25)
@given(SIZES)
def test_labelled(root, size):
    path = draw(root, size)
    weights = root / 'weights.pth'
    if not weights.is_file():
        torch.save(dict(state_dict=build(root).state_dict()), weights)
    segmentor = load_segmentor(config(root), str(weights), 'cpu')
    try:
        result = segmentor.predict(path, seg_logits=True)
    except UserError as error:
        assert vanishes(size) and str(path) in str(error)
        return
    assert result.pred_sem_seg.data.shape == (1, *size)
    assert result.pred_sem_seg.data.min() >= 0 and result.pred_sem_seg.data.max() < 21
    assert result.seg_logits.data.isfinite().all() and result.presence.isfinite().all()


@cases(15)
@given(SIZES, st.sampled_from([0.1, 0.99, 1.1]))
def test_trained_on(root, size, ignored):
    draw(root, size, ignored)
    cfg = config(root)
    dataset = build_checked_dataset(cfg.train_dataloader.dataset)
    model = build(root)
    set_random_seed(0)
    try:
        sample = dataset[0]
    except UserError as error:
        assert 8 * min(size) < max(size) and str(root) in str(error)
        return
    batch = model.data_preprocessor(pseudo_collate([sample, sample]), training=True)
    assert batch['inputs'].shape == (2, 3, 48, 48)
    total, log = model.parse_losses(model(**batch, mode='loss'))
    assert math.isfinite(total.item())
    if ignored > 1:
        assert total == 0
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert all(math.isfinite(value) for key, value in log.items() if 'loss' in key)
