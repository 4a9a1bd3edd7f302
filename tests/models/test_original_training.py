"""Ten iterations of training give the losses of PyTorch-Encoding's own code.

``golden/original_training.json`` holds the losses of the original's model, losses and learning rate
scheduler, by commit (f891919: release 0.5.0, ac74841: the newest) and by the parts that are
switched on. To be small, the original's ResNet-50 and heads had their width constants divided by
eight, and its compiled operators were replaced by the formulas in their docstrings. Weights,
images and labels follow from the rules below. Training is in float64 on one process with the
learning rate of Pascal Context, 0.001, which decays over the ten iterations.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import PolyLR, build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_encnet.checkpoints.layouts import original_key

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
GOLDEN = json.loads(
    Path(__file__).with_name('golden').joinpath('original_training.json').read_text()
)
NUM_CLASSES, SIZE, BATCH, IMAGES, ITERATIONS = 7, (49, 57), 4, 8, 10
IGNORED = 255


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one entry of the original's state dict, which follows from its name and shape."""
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    if key.endswith('running_var'):
        values = rng.uniform(0.5, 1.5, shape)
    elif key.endswith('running_mean') or key.endswith('.codewords'):
        values = 0.1 * rng.randn(*shape)
    elif key.endswith('.scale'):
        values = rng.uniform(-1, 0, shape)
    elif len(shape) == 1 and key.endswith('weight'):
        values = rng.uniform(0.5, 1.0, shape)
    elif len(shape) == 1:
        values = 0.1 * rng.randn(*shape)
    else:
        values = rng.randn(*shape) * (2.0 / np.prod(shape[1:])) ** 0.5
    return values.astype(np.float32)


def image(seed: int) -> np.ndarray:
    """Return a network input ``(3, H, W)``, blocks of 8x8 pixels and noise."""
    rng = np.random.RandomState(seed)
    coarse = rng.randn(1, 3, -(-SIZE[0] // 8), -(-SIZE[1] // 8))
    blocks = np.kron(coarse, np.ones((1, 1, 8, 8)))[:, :, : SIZE[0], : SIZE[1]]
    return (blocks + 0.3 * rng.randn(1, 3, *SIZE)).astype(np.float32)[0]


def label_map(seed: int) -> np.ndarray:
    """Return labels ``(H, W)`` in blocks of 8x8 pixels, -1 where there is none."""
    coarse = np.random.RandomState(1000 + seed).randint(-1, NUM_CLASSES, (7, 8))
    return np.kron(coarse, np.ones((8, 8), np.int64))[: SIZE[0], : SIZE[1]]


def build(parts: str, commit: str) -> nn.Module:
    cfg = Config.fromfile(CONFIGS / '_base_/models/encnet_r50.py')
    head = dict(
        in_channels=[64, 128, 256],
        channels=64,
        num_classes=NUM_CLASSES,
        add_lateral='lateral' in parts,
        use_se_loss='SE loss' in parts,
    )
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 8,
            'model.backbone.stem_channels': 16,
            'model.backbone.init_cfg': None,
            'model.decode_head': head,
            'model.auxiliary_head': dict(in_channels=128, num_classes=NUM_CLASSES),
        }
    )
    if 'auxiliary head' not in parts:
        del cfg.model['auxiliary_head']
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    state = model.state_dict()
    model.load_state_dict(
        {
            key: torch.from_numpy(weight(original_key(key), tuple(value.shape)))
            for key, value in state.items()
        }
    )
    if commit == 'ac74841':
        # Release 0.5.0 drops whole channels, the newest code single values.
        for module in (model.decode_head, getattr(model, 'auxiliary_head', None)):
            if module is not None:
                module.dropout = nn.Dropout(0.1)
    return model.double().train()


def batches() -> list[tuple[torch.Tensor, list[SegDataSample]]]:
    images = torch.from_numpy(np.stack([image(seed) for seed in range(IMAGES)])).double()
    samples = []
    for seed in range(IMAGES):
        labels = torch.from_numpy(label_map(seed)[None])
        data = PixelData(data=labels.masked_fill(labels < 0, IGNORED))
        samples.append(SegDataSample(gt_sem_seg=data, metainfo=dict(img_shape=SIZE)))
    return [
        (images[start : start + BATCH], samples[start : start + BATCH])
        for start in range(0, IMAGES, BATCH)
    ]


@pytest.mark.parametrize('parts', GOLDEN['f891919'])
@pytest.mark.parametrize('commit', GOLDEN)
def test_losses_of_the_original(commit: str, parts: str) -> None:
    model = build(parts, commit)
    schedule = Config.fromfile(CONFIGS / '_base_/schedules/pcontext.py')
    optimizer = build_optim_wrapper(model, schedule.optim_wrapper)
    options = {key: value for key, value in schedule.param_scheduler[0].items() if key != 'type'}
    # The toolbox's schedule reaches zero in the last iteration, the original's one after it.
    scheduler = PolyLR(optimizer, **options, end=ITERATIONS + 1)
    data = batches()
    losses = []
    for iteration in range(ITERATIONS):
        torch.manual_seed(iteration)  # the same dropout
        found = model.loss(*data[iteration % len(data)])
        loss = sum(value for key, value in found.items() if 'loss' in key)
        optimizer.update_params(loss)
        scheduler.step()
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN[commit][parts], rel=1e-6)
