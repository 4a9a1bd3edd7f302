"""A single score for two classes, in every model that turns scores into labels."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_encnet import EncNet
from mmseg_encnet.exporting import FoldedEncNet
from mmseg_encnet.models import ContextTTAModel, PublishedTTAModel
from mmseg_encnet.models.labels import both_scores, label_pixels

NORM = dict(type='BN')
LOSS = dict(type='SyncCrossEntropyLoss', use_sigmoid=True)
SIZE = (40, 56)


def build(threshold: float, segmentor: str = 'ContextEncoderDecoder', **head) -> nn.Module:
    """Return a tiny EncNet whose scores vary over the image around the threshold."""
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type=segmentor,
            data_preprocessor=dict(type='SegDataPreProcessor'),
            backbone=dict(
                type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, norm_cfg=NORM
            ),
            decode_head=dict(
                dict(
                    type='EncodingHead',
                    in_channels=[32],
                    in_index=[3],
                    channels=8,
                    num_codes=4,
                    num_classes=2,
                    out_channels=1,
                    threshold=threshold,
                    loss_decode=LOSS,
                    norm_cfg=NORM,
                    align_corners=True,
                ),
                **head,
            ),
            test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
        )
    )
    model.init_weights()
    classifier = model.decode_head.conv_seg
    nn.init.normal_(classifier.weight, std=20)
    logits = model.eval()._forward(image())
    logits = logits[0] if isinstance(logits, tuple) else logits
    with torch.no_grad():
        classifier.bias += math.log(threshold / (1 - threshold)) - logits.median()
    return model


def image(*size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 3, *(size or SIZE), generator=generator)


def with_two_scores(model: nn.Module) -> nn.Module:
    """Return the same network with a constant score of class 0, the logit of the threshold."""
    threshold, classifier = model.decode_head.threshold, model.decode_head.conv_seg
    other = build(threshold, out_channels=2, loss_decode=dict(type='SyncCrossEntropyLoss'))
    weights = model.state_dict()
    zero = torch.zeros_like(classifier.weight)
    weights['decode_head.conv_seg.weight'] = torch.cat([zero, classifier.weight])
    background = torch.tensor([threshold]).logit()
    weights['decode_head.conv_seg.bias'] = torch.cat([background, classifier.bias])
    other.load_state_dict(weights)
    return other


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.8])
def test_labels(threshold):
    probabilities = torch.tensor([0.2, 0.3, 0.4, 0.5, 0.6, 0.81]).view(1, 2, 3)
    expected = (probabilities > threshold).long()
    assert torch.equal(label_pixels(probabilities, threshold), expected)
    both = both_scores(probabilities[None].logit(), threshold)
    near = (probabilities - threshold).abs() < 1e-6
    assert torch.equal(label_pixels(both)[0][~near], expected[~near])
    for absent, only in (([True, False], 1), ([False, True], 0)):
        labels = label_pixels(probabilities, threshold, torch.tensor(absent))
        assert (labels == only).all()


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.8])
def test_published_evaluation_is_that_of_two_scores(threshold):
    one = build(threshold)
    labels = []
    for model in (one, with_two_scores(one)):
        evaluator = PublishedTTAModel(model, base_size=48, scales=(0.75, 1.0))
        sample = SegDataSample(metainfo=dict(ori_shape=SIZE))
        (prediction,) = evaluator.test_step(dict(inputs=[image()[0]], data_samples=[sample]))
        assert prediction.seg_logits.data.shape == (2, *SIZE)
        labels.append(prediction.pred_sem_seg.data)
    assert 0.05 < labels[0].float().mean() < 0.95
    assert (labels[0] == labels[1]).float().mean() > 0.999


@pytest.mark.parametrize('segmentor', ['ContextEncoderDecoder', 'EncoderDecoder'])
def test_views_are_merged_by_the_mean_of_their_probabilities(segmentor):
    model = build(0.6, segmentor)
    views = [image()[0], image()[0].flip(2)]
    samples = [
        SegDataSample(
            metainfo=dict(
                ori_shape=SIZE, img_shape=SIZE, flip=flip, flip_direction='horizontal', img_path='a'
            )
        )
        for flip in (False, True)
    ]
    probability = sum(
        model.test_step(dict(inputs=[view], data_samples=[sample]))[0].seg_logits.data
        for view, sample in zip(views, samples)
    ) / len(views)
    merged = ContextTTAModel(model).test_step(
        dict(inputs=[[view] for view in views], data_samples=[[sample] for sample in samples])
    )[0]
    torch.testing.assert_close(merged.seg_logits.data, probability)
    assert torch.equal(merged.pred_sem_seg.data, (merged.seg_logits.data > 0.6).long())
    # The toolbox's sigmoid of a sigmoid exceeds 0.5 everywhere.
    assert (probability < 0.5).any() and (probability > 0.6).any()


def test_suppression_leaves_the_class_that_is_present():
    model = build(0.5)
    with torch.no_grad():
        model.decode_head.se_layer.bias[:] = torch.tensor([9.0, -9.0])
    plain = model.predict(image())[0]
    model.test_cfg.presence_threshold = 0.5
    suppressed = model.predict(image())[0]
    assert plain.pred_sem_seg.data.any() and not suppressed.pred_sem_seg.data.any()
    assert torch.equal(plain.seg_logits.data, suppressed.seg_logits.data)


def test_folded_network():
    model = build(0.7)
    model.test_cfg = ConfigDict(mode='whole')
    folded = FoldedEncNet(model)
    scores, _ = folded(image())
    prediction = model.predict(image())[0]
    torch.testing.assert_close(scores[0], prediction.seg_logits.data, atol=1e-4, rtol=1e-4)
    labels = folded.labels(scores)[0]
    assert (labels == prediction.pred_sem_seg.data).float().mean() > 0.999
    assert 0.1 < labels.float().mean() < 0.9


def test_original_interface():
    model = EncNet(
        2,
        'resnet50s',
        base_size=48,
        crop_size=32,
        **{
            'decode_head.out_channels': 1,
            'decode_head.threshold': 0.5,
            'decode_head.loss_decode.use_sigmoid': True,
        },
    ).eval()
    with torch.no_grad():
        logits, se, _ = model(image())
        assert logits.shape == (1, 1, *SIZE) and se.shape == (1, 2)
        labels = (logits[:, 0] > 0).long()
        correct, labelled, _, _ = model.evaluate(image(), labels)
    assert correct == labelled == labels.numel()


@pytest.mark.parametrize('threshold', [0.3, 0.8])
def test_logged_accuracy_is_that_of_the_thresholded_labels(threshold):
    model = build(threshold)
    prediction = model.predict(image(32, 32))[0].pred_sem_seg.data
    sample = SegDataSample(gt_sem_seg=PixelData(data=prediction))
    losses = model.loss(image(32, 32), [sample])
    assert losses['decode.acc_seg'].item() == pytest.approx(100, abs=0.1)
    assert torch.isfinite(losses['decode.loss_ce'])
