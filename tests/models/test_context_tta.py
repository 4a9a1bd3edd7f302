"""Merged predictions of several views and their context."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.errors import UserError

NORM = dict(type='BN')
ENCODING = dict(
    type='EncodingHead',
    in_channels=[8, 16, 32],
    in_index=[1, 2, 3],
    channels=8,
    num_codes=4,
    num_classes=5,
    norm_cfg=NORM,
)
FCN = dict(type='FCNHead', in_channels=32, in_index=3, channels=8, num_classes=5, norm_cfg=NORM)
BINARY = dict(
    ENCODING,
    num_classes=2,
    out_channels=1,
    threshold=0.4,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
)
SIZES = (32, 48, 64)


def build(
    head: dict = ENCODING,
    segmentor: str = 'ContextEncoderDecoder',
    merger: str = 'ContextTTAModel',
    **test_cfg,
) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type=merger,
            module=dict(
                type=segmentor,
                data_preprocessor=dict(type='SegDataPreProcessor'),
                backbone=dict(
                    type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, norm_cfg=NORM
                ),
                decode_head=head,
                test_cfg=dict(dict(mode='slide', crop_size=(32, 32), stride=(16, 16)), **test_cfg),
            ),
        )
    )
    model.module.init_weights()
    for module in model.module.decode_head.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def views(batch: int = 2) -> dict:
    """Return a batch of images in three sizes and mirrored, as packed by the toolbox."""
    generator = torch.Generator().manual_seed(1)
    inputs, data_samples = [], []
    for size in SIZES:
        for flip in (False, True):
            images = torch.randn(batch, 3, size, size + 16, generator=generator)
            inputs.append(list(images))
            data_samples.append(
                [
                    SegDataSample(
                        metainfo=dict(
                            ori_shape=(40, 50),
                            img_shape=(size, size + 16),
                            flip=flip,
                            flip_direction='horizontal',
                            img_path=f'{i}.jpg',
                        )
                    )
                    for i in range(batch)
                ]
            )
    return dict(inputs=inputs, data_samples=data_samples)


@torch.no_grad()
def merge(model: nn.Module, batch: dict) -> list[SegDataSample]:
    return model.test_step(copy.deepcopy(batch))


@torch.no_grad()
def one_by_one(model: nn.Module, batch: dict) -> list[tuple[SegDataSample, ...]]:
    """Return the predictions of all views of each image."""
    batch = copy.deepcopy(batch)
    return list(
        zip(
            *(
                model.module.test_step(dict(inputs=inputs, data_samples=data_samples))
                for inputs, data_samples in zip(batch['inputs'], batch['data_samples'])
            )
        )
    )


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0)


@pytest.mark.parametrize('context_maps', [False, True])
def test_the_context_is_the_mean_of_the_views(context_maps):
    model = build(context_maps=context_maps)
    stock = build(merger='SegTTAModel')
    stock.load_state_dict(model.state_dict())
    batch = views()
    for found, separate, expected in zip(
        merge(model, batch), one_by_one(model, batch), merge(stock, batch)
    ):
        probability = mean([view.seg_logits.data.softmax(dim=0) for view in separate])
        torch.testing.assert_close(found.seg_logits.data.exp(), probability)
        torch.testing.assert_close(found.presence, mean([view.presence for view in separate]))
        torch.testing.assert_close(found.gate, mean([view.gate for view in separate]))
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert found.img_path == expected.img_path
        fields = {'pred_sem_seg', 'seg_logits', 'presence', 'gate'}
        if context_maps:
            fields |= {'assignments'}
            torch.testing.assert_close(
                found.assignments.data, mean([view.assignments.data for view in separate])
            )
        assert set(found.keys()) == fields


def test_truth_stays():
    batch = views(1)
    truth = PixelData(data=torch.ones(1, 40, 50, dtype=torch.uint8))
    for (sample,) in batch['data_samples']:
        sample.gt_sem_seg = truth
    assert torch.equal(merge(build(), batch)[0].gt_sem_seg.data, truth.data)


@pytest.mark.parametrize('threshold', [0.45, 1.0])
def test_absent_classes_are_those_of_the_merged_presence(threshold):
    batch = views()
    differ = False
    for found, plain in zip(
        merge(build(presence_threshold=threshold), batch), merge(build(), batch)
    ):
        assert torch.equal(found.seg_logits.data, plain.seg_logits.data)
        kept = plain.presence >= threshold
        kept[plain.presence.argmax()] = True
        expected = torch.arange(5)[kept][plain.seg_logits.data[kept].argmax(dim=0, keepdim=True)]
        assert torch.equal(found.pred_sem_seg.data, expected)
        differ |= not torch.equal(found.pred_sem_seg.data, plain.pred_sem_seg.data)
    assert differ


@pytest.mark.parametrize(
    ('head', 'segmentor', 'fields'),
    [
        (FCN, 'ContextEncoderDecoder', set()),
        (ENCODING, 'EncoderDecoder', set()),
        (dict(ENCODING, use_se_loss=False), 'ContextEncoderDecoder', {'gate'}),
        (BINARY, 'ContextEncoderDecoder', {'gate', 'presence'}),
    ],
    ids=['FCN', 'stock segmentor', 'no SE', 'one score'],
)
def test_what_is_not_there_is_not_merged(head, segmentor, fields):
    model = build(head, segmentor)
    stock = build(head, 'EncoderDecoder', 'SegTTAModel')
    stock.load_state_dict(model.state_dict())
    batch = views()
    for found, separate, expected in zip(
        merge(model, batch), one_by_one(model, batch), merge(stock, batch)
    ):
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert set(found.keys()) == {'pred_sem_seg', 'seg_logits'} | fields
        for key in fields:
            torch.testing.assert_close(found.get(key), mean([view.get(key) for view in separate]))


def test_threshold_without_se_branch_is_refused():
    with pytest.raises(UserError, match='has no SE branch'):
        build(FCN, 'EncoderDecoder', presence_threshold=0.1)
