"""The second SE loss: an auxiliary Context Encoding Module on an earlier stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models import AuxEncodingHead

ROOT = Path(__file__).resolve().parents[2]
NUM_CLASSES = 5


def build(**options) -> AuxEncodingHead:
    torch.manual_seed(0)
    cfg = dict(
        type='AuxEncodingHead',
        in_channels=16,
        in_index=1,
        num_classes=NUM_CLASSES,
        num_codes=3,
        norm_cfg=dict(type='BN'),
    )
    return MODELS.build(dict(cfg, **options))


def feature_maps() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.empty(0), torch.randn(2, 16, 6, 5, generator=generator), torch.empty(0)]


def samples(ignored: int = 255) -> list[SegDataSample]:
    labels = torch.tensor([[[0, 2], [2, ignored]], [[4, 4], [ignored, 4]]])
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_the_loss_is_binary_cross_entropy_of_its_parts(reduction: str) -> None:
    head, inputs = build(reduction=reduction), feature_maps()
    losses = head.loss(inputs, samples(), {})
    assert list(losses) == ['loss_se']
    encode, norm, activate = head.enc_module.encoding
    statistics = encode(head.enc_module.encoding_project(head.bottleneck(inputs[1])))
    statistics = activate(norm(statistics[..., None]))[..., 0]
    vector = getattr(statistics, reduction)(dim=1)
    logits = vector @ head.se_layer.weight.T + head.se_layer.bias
    targets = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    expected = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(losses['loss_se'], 0.2 * expected)


def test_it_has_only_what_it_trains() -> None:
    head = build()
    layers = {key.rsplit('.', 1)[0] for key in head.state_dict()}
    assert layers == {
        'bottleneck.conv',
        'bottleneck.bn',
        'enc_module.encoding_project.conv',
        'enc_module.encoding_project.bn',
        'enc_module.encoding.0',
        'enc_module.encoding.1',
        'se_layer',
    }
    head.loss(feature_maps(), samples(), {})['loss_se'].backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(
    'ignored, expected',
    [(255, [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]]), (2, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]])],
)
def test_an_ignored_label_is_no_class(ignored: int, expected: list[list[int]]) -> None:
    seen = []

    class Recorder(nn.Module):
        def forward(self, logits: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
            seen.append(presence)
            return logits.sum()

    head = build(ignore_index=ignored)
    head.loss_se_decode = Recorder()
    head.loss(feature_maps(), samples(ignored), {})
    assert seen[0].tolist() == expected


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(reduction='max'), "unknown reduction 'max'"),
        (dict(encoder=dict(type='Vlad')), 'unknown encoder'),
        (dict(num_codes=0), 'num_codes must be positive, got 0'),
    ],
)
def test_arguments_that_cannot_work_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(**options)


@pytest.mark.parametrize('heads', [['AuxEncodingHead'], ['AuxFCNHead', 'AuxEncodingHead']])
def test_trains_in_a_segmentor_alone_and_with_the_fcn_head(heads: list[str]) -> None:
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/encnet_r18.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 8,
            'model.backbone.stem_channels': 8,
            'model.decode_head': dict(
                in_channels=[16, 32, 64], channels=16, num_codes=4, num_classes=NUM_CLASSES
            ),
            'model.auxiliary_head': [
                dict(
                    type=head,
                    in_channels=32,
                    in_index=2,
                    num_classes=NUM_CLASSES,
                    norm_cfg=dict(type='SyncBN'),
                )
                for head in heads
            ],
        }
    )
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    data = samples()
    for sample in data:
        labels = sample.gt_sem_seg.data.repeat_interleave(16, 1).repeat_interleave(16, 2)
        sample.gt_sem_seg = PixelData(data=labels)
        sample.set_metainfo(dict(img_shape=(32, 32)))
    losses = model.loss(torch.randn(2, 3, 32, 32), data)
    se_losses = {key for key in losses if key.startswith('aux') and key.endswith('loss_se')}
    assert se_losses == {f'aux_{len(heads) - 1}.loss_se'}
    assert ('aux_0.loss_ce' in losses) == ('AuxFCNHead' in heads)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
