"""On the CPU, networks that can train in channels-last layout."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

NORM = dict(type='BN')
HEADS = {
    'EncodingHead': dict(in_channels=[16, 32, 64], in_index=[1, 2, 3], num_codes=4),
    # Views features in a way that only the contiguous layout allows.
    'DMHead': dict(in_channels=64, in_index=3, filter_sizes=(1, 3)),
}


@pytest.mark.parametrize(
    ('head', 'dtype', 'channels_last'),
    [
        ('EncodingHead', torch.float32, True),
        ('EncodingHead', torch.float64, False),
        ('DMHead', torch.float32, False),
    ],
)
def test_layout_of_training_features(head, dtype, channels_last):
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type='ContextEncoderDecoder',
            backbone=dict(
                type='ResNetV1s', depth=18, base_channels=8, stem_channels=8, norm_cfg=NORM
            ),
            decode_head=dict(
                type=head,
                channels=16,
                num_classes=5,
                norm_cfg=NORM,
                dropout_ratio=0.0,
                align_corners=False,
                **HEADS[head],
            ),
        )
    ).to(dtype)
    images = torch.randn(2, 3, 48, 64, dtype=dtype)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.randint(5, (1, 48, 64)))) for _ in images
    ]

    features = model.extract_feat(images)[-1]
    assert features.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert features.is_contiguous() != channels_last
    loss = model.loss(images, samples)['decode.loss_ce']
    loss.backward()

    own = model.decode_head.loss(model.backbone(images), samples, {})['loss_ce']
    torch.testing.assert_close(loss, own)
    assert model.eval().extract_feat(images)[-1].is_contiguous()
