"""Backbones of MMPretrain and timm in configs of this package, where they are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import MSRC21
from torch import nn

SIZE = (64, 64)
# A small network with random weights of each kind, and the channels of its last three stages.
CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
    out_indices=[1, 2, 3],
    gap_before_final_norm=False,
)
TIMM = dict(type='TIMMBackbone', model_name='resnet18', pretrained=False, out_indices=[2, 3, 4])
REGISTERED = """
import sys, warnings
warnings.simplefilter('ignore')
import torch
import mmpretrain
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmpretrain import get_model, list_models
from mmpretrain.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
if sys.argv[1] == 'with':
    import mmseg_encnet
init_default_scope('mmpretrain')
torch.manual_seed(0)
model = get_model('resnet18_8xb32_in1k', pretrained=False).eval()
parts = [sorted(registry.module_dict) for registry in (DATASETS, HOOKS, MODELS, TRANSFORMS)]
with torch.no_grad():
    scores = model(torch.ones(1, 3, 64, 64)).sum().item()
checkpoint = CheckpointLoader.load_checkpoint(sys.argv[2], map_location='cpu')
print('RESULT', parts, len(list_models()), scores, checkpoint['state_dict']['a'].tolist())
"""


def segmentor(backbone: dict, channels: list[int]) -> nn.Module:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = Config.fromfile(MSRC21).model
    model.backbone = backbone
    model.data_preprocessor.size = SIZE
    model.decode_head.update(
        in_channels=channels, in_index=[0, 1, 2], channels=16, num_codes=4, add_lateral=True
    )
    model.auxiliary_head.update(in_channels=channels[1], in_index=1)
    model.test_cfg = dict(mode='whole')
    return MODELS.build(model)


def train_and_predict(model: nn.Module) -> tuple[int, ...]:
    model.init_weights()
    images = list(torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8))
    meta = dict(img_shape=SIZE, ori_shape=(50, 70), pad_shape=SIZE, padding_size=[0] * 4)
    samples = [SegDataSample(metainfo=dict(meta)) for _ in images]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(model.num_classes, (1, *SIZE)))
    batch = dict(inputs=images, data_samples=samples)
    data = model.data_preprocessor(batch, training=True)
    model.parse_losses(model.loss(**data))[0].backward()
    assert next(model.backbone.parameters()).grad is not None
    model.eval()
    with torch.no_grad():
        (prediction, _) = model.val_step(batch)
    return tuple(prediction.pred_sem_seg.data.shape)


def test_a_backbone_of_mmpretrain():
    pytest.importorskip('mmpretrain.models')
    assert train_and_predict(segmentor(CONVNEXT, [16, 24, 32])) == (1, 50, 70)


def test_what_mmpretrain_loads_stays_the_same(tmp_path: Path):
    pytest.importorskip('mmpretrain.models')
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(a=torch.arange(3.0)), meta={}), weights)
    results = []
    for plugin in ('without', 'with'):
        done = subprocess.run(
            [sys.executable, '-c', REGISTERED, plugin, weights],
            capture_output=True,
            text=True,
            check=True,
        )
        results.append([line for line in done.stdout.splitlines() if line.startswith('RESULT')])
    assert len(results[0]) == 1
    assert results[0] == results[1]


def test_a_backbone_of_timm():
    pytest.importorskip('timm')
    assert train_and_predict(segmentor(TIMM, [128, 256, 512])) == (1, 50, 70)
