"""The published evaluation against a step-by-step implementation of its description."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import MSRC21
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models import PublishedTTAModel

CROP, BASE, SCALES = 48, 56, (0.5, 1.0, 1.75)
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
NORM = dict(type='BN')


def segmentor(head: dict | None = None, use_se_loss: bool = True, **test_cfg):
    """Return a tiny EncNet, or one with another head, whose scores vary over the image."""
    head = head or dict(
        type='EncodingHead',
        in_channels=[8, 16, 32],
        in_index=[1, 2, 3],
        num_codes=4,
        use_se_loss=use_se_loss,
    )
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ContextEncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(CROP, CROP)
            ),
            backbone=dict(
                type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, norm_cfg=NORM
            ),
            decode_head=dict(head, channels=8, num_classes=5, norm_cfg=NORM, align_corners=True),
            test_cfg=dict(test_cfg, mode='slide', crop_size=(CROP, CROP), stride=(32, 32)),
        )
    )
    model.init_weights()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


def window_score(model, window: Tensor) -> Tensor:
    def logits(x: Tensor) -> Tensor:
        seg_logits = model.decode_head.forward_context(model.extract_feat(x)).seg_logits
        return F.interpolate(seg_logits, x.shape[2:], mode='bilinear', align_corners=True)

    return torch.exp(logits(window) + logits(window.flip(3)).flip(3))


def pad_black(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    height, width = (max(side, CROP) for side in image.shape[2:])
    canvas = ((torch.zeros(3, height, width) - mean) / std)[None]
    canvas[:, :, : image.shape[2], : image.shape[3]] = image
    return canvas


def by_the_description(model, image: Tensor) -> Tensor:
    resize: Callable[..., Tensor] = lambda x, size: F.interpolate(  # noqa: E731
        x, size, mode='bilinear', align_corners=True
    )
    height, width = image.shape[2:]
    total = torch.zeros(1, 5, height, width)
    for scale in SCALES:
        long_side = math.ceil(BASE * scale)
        ratio = long_side / max(height, width)
        size = tuple(
            long_side if side == max(height, width) else math.floor(side * ratio + 0.5)
            for side in (height, width)
        )
        scaled = pad_black(resize(image, size))
        sums, count = torch.zeros(1, 5, *scaled.shape[2:]), torch.zeros(scaled.shape[2:])
        starts = [
            [0] + [start for start in range(32, side, 32) if start + CROP - 32 < side]
            for side in scaled.shape[2:]
        ]
        for top in starts[0]:
            for left in starts[1]:
                window = scaled[:, :, top : top + CROP, left : left + CROP]
                rows, columns = window.shape[2:]
                score = window_score(model, pad_black(window))[:, :, :rows, :columns]
                sums[:, :, top : top + rows, left : left + columns] += score
                count[top : top + rows, left : left + columns] += 1
        assert count.min() >= 1
        total += resize((sums / count)[:, :, : size[0], : size[1]], (height, width))
    return total


@pytest.mark.parametrize('size', [(40, 61), (70, 33), (50, 50), (20, 20), (24, 112)])
@torch.no_grad()
def test_follows_the_description(size):
    model = segmentor()
    image = torch.randn(1, 3, *size)
    score = PublishedTTAModel(model, base_size=BASE, scales=SCALES).score(image)
    torch.testing.assert_close(score, by_the_description(model, image), rtol=1e-4, atol=1e-6)


def context_by_the_description(model, image: Tensor) -> dict[str, Tensor]:
    """Return gate and presence computed window by window."""
    gates, presences = [], []
    for scale in SCALES:
        long_side = math.ceil(BASE * scale)
        ratio = long_side / max(image.shape[2:])
        size = tuple(
            long_side if side == max(image.shape[2:]) else math.floor(side * ratio + 0.5)
            for side in image.shape[2:]
        )
        scaled = pad_black(F.interpolate(image, size, mode='bilinear', align_corners=True))
        tops, lefts = (
            [0] + [start for start in range(32, side, 32) if start + CROP - 32 < side]
            for side in scaled.shape[2:]
        )
        windows = [
            pad_black(scaled[:, :, top : top + CROP, left : left + CROP])
            for top in tops
            for left in lefts
        ]
        for flip in (False, True):
            outputs = [
                model.decode_head.forward_context(
                    model.extract_feat(window.flip(3) if flip else window)
                )
                for window in windows
            ]
            gates.append(torch.stack([output.gate[0] for output in outputs]).mean(dim=0))
            if model.decode_head.use_se_loss:
                presences.append(
                    torch.stack([output.se_logits[0].sigmoid() for output in outputs]).amax(dim=0)
                )
    context = dict(gate=torch.stack(gates).mean(dim=0))
    if presences:
        context['presence'] = torch.stack(presences).mean(dim=0)
    return context


@pytest.mark.parametrize('use_se_loss', [True, False])
@torch.no_grad()
def test_the_context_of_windows_mirror_images_and_scales(use_se_loss):
    model = segmentor(use_se_loss=use_se_loss)
    image = torch.randn(1, 3, 40, 70)
    _, context = PublishedTTAModel(model, base_size=BASE, scales=SCALES).score_with_context(image)
    expected = context_by_the_description(model, image)
    assert context.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(context[key], value, rtol=1e-4, atol=1e-6)


def test_heads_without_context():
    model = segmentor(head=dict(type='FCNHead', in_channels=32, in_index=3))
    (prediction,) = PublishedTTAModel(model, base_size=BASE, scales=SCALES).test_step(
        dict(inputs=[torch.zeros(3, 40, 61)], data_samples=[SegDataSample()])
    )
    assert set(prediction.keys()) == {'pred_sem_seg', 'seg_logits'}


def test_absent_classes_get_no_pixel():
    images = [torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 61)))]
    (plain,) = PublishedTTAModel(segmentor(), base_size=BASE, scales=SCALES).test_step(
        dict(inputs=images, data_samples=[SegDataSample()])
    )
    threshold = float(plain.presence.median())
    evaluator = PublishedTTAModel(
        segmentor(presence_threshold=threshold), base_size=BASE, scales=SCALES
    )
    (found,) = evaluator.test_step(dict(inputs=images, data_samples=[SegDataSample()]))
    assert torch.equal(found.seg_logits.data, plain.seg_logits.data)
    kept = plain.presence >= threshold
    assert 1 < kept.sum() < 5
    expected = torch.arange(5)[kept][plain.seg_logits.data[kept].argmax(dim=0, keepdim=True)]
    assert torch.equal(found.pred_sem_seg.data, expected)
    with pytest.raises(UserError, match='has no SE branch'):
        PublishedTTAModel(
            MODELS.build(
                dict(
                    type='EncoderDecoder',
                    backbone=dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8),
                    decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=5),
                    test_cfg=dict(evaluator.module.test_cfg),
                )
            )
        )


def test_a_batch_of_photographs_of_different_sizes():
    model = segmentor()
    evaluator = PublishedTTAModel(model, base_size=BASE, scales=SCALES)
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
        for size in ((40, 61), (70, 33))
    ]
    samples = [
        SegDataSample(metainfo=dict(ori_shape=tuple(image.shape[1:]), img_path='a.jpg'))
        for image in images
    ]
    predictions = evaluator.test_step(dict(inputs=images, data_samples=samples))
    for image, prediction in zip(images, predictions):
        rgb = image[[2, 1, 0]].float()
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
        normalised = ((rgb - mean) / std)[None]
        expected = evaluator.score(normalised)
        assert torch.equal(prediction.pred_sem_seg.data, expected.argmax(dim=1))
        torch.testing.assert_close(prediction.seg_logits.data, expected[0].log())
        assert prediction.img_path == 'a.jpg'


def test_needs_windows_and_whole_images():
    model = segmentor()
    model.test_cfg = dict(mode='whole')
    with pytest.raises(UserError, match=r'without crop_size and stride.*slide'):
        PublishedTTAModel(model)
    evaluator = PublishedTTAModel(segmentor())
    images = [torch.zeros(3, 8, 8)]
    with pytest.raises(UserError, match='published_tta_pipeline'):
        evaluator.test_step(dict(inputs=[images], data_samples=[[SegDataSample()]]))


def test_tool(tiny_config, tiny_options, run_tool, tmp_path):
    cfg = tiny_config()
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    options = dict(
        tiny_options,
        **{
            'published_tta_model.base_size': 64,
            'published_tta_model.scales': [0.5, 1.0],
            'model.test_cfg.crop_size': '(48,48)',
            'model.test_cfg.stride': '(32,32)',
        },
    )
    result = run_tool(
        'test',
        MSRC21,
        'weights.pth',
        '--published-tta',
        '--out',
        'out',
        '--work-dir',
        'work',
        options=options,
    )
    assert result.status == 0, result.err
    assert 'mIoU' in result.out + result.err
    assert len(list((tmp_path / 'out').glob('*.png'))) == 2
