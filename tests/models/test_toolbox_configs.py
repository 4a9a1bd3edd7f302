"""MMSegmentation's EncNet configs and checkpoints with the parts of this package."""

from __future__ import annotations

from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import ROOT
from torch import nn

THEIRS = Path(mmseg.__file__).parent / '.mim/configs'
SHRINK = {
    'backbone.base_channels': 4,
    'backbone.stem_channels': 8,
    'backbone.init_cfg': None,
    'decode_head.in_channels': [32, 64, 128],
    'decode_head.channels': 16,
    'auxiliary_head.in_channels': 64,
    'auxiliary_head.channels': 16,
    'data_preprocessor.size': (64, 64),
}


def build(path: Path, **options) -> nn.Module:
    cfg = Config.fromfile(path)
    cfg.model.pretrained = None
    options = {**SHRINK, **options}
    if 'neck' in cfg.model:
        options |= {
            'neck.in_channels': (32, 64, 128),
            'neck.mid_channels': 16,
            'decode_head.in_channels': [16, 16, 64],
        }
    if cfg.model.test_cfg.mode == 'slide':
        options |= {'test_cfg.crop_size': (48, 48), 'test_cfg.stride': (32, 32)}
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return revert_sync_batchnorm(MODELS.build(cfg.model))


@pytest.mark.parametrize(
    'theirs, ours',
    [
        ('encnet/encnet_r50-d8_4xb2-80k_cityscapes-512x1024', 'encnet_r50v1c_cityscapes'),
        ('encnet/encnet_r50-d8_4xb2-40k_cityscapes-769x769', 'encnet_r50v1c_cityscapes-769'),
        ('encnet/encnet_r101-d8_4xb2-80k_cityscapes-769x769', 'encnet_r101v1c_cityscapes-769'),
        ('encnet/encnet_r101-d8_4xb4-160k_ade20k-512x512', 'encnet_r101v1c_ade20k'),
        ('fastfcn/fastfcn_r50-d32_jpu_enc_4xb4-160k_ade20k-512x512', 'encnet_r50v1c_jpu_ade20k'),
        ('fastfcn/fastfcn_r50-d32_jpu_enc_4xb4-80k_ade20k-512x512', 'encnet_r50v1c_jpu_ade20k'),
        (
            'fastfcn/fastfcn_r50-d32_jpu_enc_4xb2-80k_cityscapes-512x1024',
            'encnet_r50v1c_jpu_cityscapes',
        ),
        (
            'fastfcn/fastfcn_r50-d32_jpu_enc_4xb4-80k_cityscapes-512x1024',
            'encnet_r50v1c_jpu_cityscapes',
        ),
    ],
)
def test_an_official_checkpoint_loads_strictly_and_predicts_the_same(theirs, ours):
    torch.manual_seed(0)
    stock = build(THEIRS / f'{theirs}.py').eval()
    shipped = build(ROOT / 'configs' / f'{ours}.py').eval()
    swapped = build(THEIRS / f'{theirs}.py', **{'decode_head.type': 'EncodingHead'}).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = stock.predict(image)
        for model in (shipped, swapped):
            model.load_state_dict(stock.state_dict(), strict=True)
            for prediction, other in zip(model.predict(image), expected):
                torch.testing.assert_close(
                    prediction.seg_logits.data, other.seg_logits.data, rtol=1e-4, atol=1e-6
                )


def test_swapping_the_head_in_a_toolbox_config_trains():
    torch.manual_seed(0)
    model = build(
        THEIRS / 'encnet/encnet_r50-d8_4xb4-20k_voc12aug-512x512.py',
        **{'decode_head.type': 'EncodingHead'},
    ).train()
    assert type(model.decode_head).__module__.startswith('mmseg_encnet')
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 21, (1, 64, 64)))
        samples.append(sample)
    losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    assert set(losses) == {
        'decode.loss_ce',
        'decode.loss_se',
        'decode.acc_seg',
        'aux.loss_ce',
        'aux.acc_seg',
    }
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())
