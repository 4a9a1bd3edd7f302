"""What the segmentor adds to a prediction, and that it keeps nothing between calls."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

NUM_CLASSES, CHANNELS = 5, 8
WHOLE = dict(mode='whole')
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
ENCODING = dict(
    type='EncodingHead', in_channels=[8, 16, 32], in_index=[1, 2, 3], channels=CHANNELS,
    num_codes=4, num_classes=NUM_CLASSES, norm_cfg=dict(type='BN'))
FCN = dict(
    type='FCNHead', in_channels=32, in_index=3, channels=CHANNELS, num_classes=NUM_CLASSES,
    norm_cfg=dict(type='BN'))


def build(head: dict = ENCODING, test_cfg: dict = WHOLE,
          kind: str = 'ContextEncoderDecoder') -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(
        type=kind,
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8),
        decode_head=head,
        test_cfg=test_cfg))
    model.init_weights()
    # Gates and classes of a network that has learnt something differ between images.
    for module in model.decode_head.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def images(batch: int = 2, size: tuple[int, int] = (48, 64)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *size, generator=generator)


def samples(batch: int = 2) -> list[SegDataSample]:
    return [
        SegDataSample(metainfo=dict(
            ori_shape=(30 + i, 40), img_shape=(48, 64), pad_shape=(48, 64), padding_size=[0] * 4))
        for i in range(batch)
    ]


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, data_samples=None) -> list[SegDataSample]:
    return model.predict(inputs, data_samples)


def windows() -> list[tuple[int, int]]:
    """Top left corners of the 32 x 32 windows that cover 48 x 64 at stride 16."""
    return [(y, x) for y in (0, 16) for x in (0, 16, 32)]


@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize('with_samples', [True, False])
def test_predictions_carry_the_context(test_cfg, with_samples):
    model = build(test_cfg=test_cfg)
    inputs = images()
    predictions = predict(model, inputs, samples() if with_samples else None)
    stock = build(test_cfg=test_cfg, kind='EncoderDecoder')
    stock.load_state_dict(model.state_dict(), strict=True)
    expected = predict(stock, inputs, samples() if with_samples else None)

    crops = ([inputs] if test_cfg is WHOLE else
             [inputs[:, :, y:y + 32, x:x + 32] for y, x in windows()])
    with torch.no_grad():
        outputs = [model.decode_head.forward_context(model.extract_feat(crop)) for crop in crops]
    gate = torch.stack([output.gate for output in outputs]).mean(dim=0)
    presence = torch.stack([output.se_logits.sigmoid() for output in outputs]).amax(dim=0)

    assert len(predictions) == 2
    for i, (prediction, stock_prediction) in enumerate(zip(predictions, expected)):
        assert torch.equal(
            prediction.pred_sem_seg.data, stock_prediction.pred_sem_seg.data)
        assert torch.equal(prediction.seg_logits.data, stock_prediction.seg_logits.data)
        assert prediction.presence.shape == (NUM_CLASSES, )
        assert prediction.gate.shape == (CHANNELS, )
        torch.testing.assert_close(prediction.presence, presence[i])
        torch.testing.assert_close(prediction.gate, gate[i])
        if with_samples:
            assert prediction.pred_sem_seg.data.shape == (1, 30 + i, 40)
    assert not torch.allclose(predictions[0].gate, predictions[1].gate)


@pytest.mark.parametrize('head, fields', [
    (ENCODING, {'presence', 'gate'}),
    (dict(ENCODING, use_se_loss=False), {'gate'}),
    (FCN, set()),
], ids=['SE', 'no SE', 'FCN'])
@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
def test_fields_are_there_only_where_the_head_has_them(head, fields, test_cfg):
    for data_samples in (samples(), None):
        for prediction in predict(build(head, test_cfg), images(), data_samples):
            assert set(prediction.keys()) == {'pred_sem_seg', 'seg_logits'} | fields


@pytest.mark.parametrize('test_cfg, passes', [(WHOLE, 1), (SLIDE, len(windows()))])
def test_context_costs_no_pass_and_leaves_no_trace(test_cfg, passes):
    model = build(test_cfg=test_cfg)
    calls = {'backbone': 0, 'head': 0}

    def count(name: str):
        def hook(*_):
            calls[name] += 1
        return hook

    model.backbone.register_forward_hook(count('backbone'))
    model.decode_head.bottleneck.register_forward_hook(count('head'))
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    metas = samples()
    predict(model, images(), metas)
    assert calls == {'backbone': passes, 'head': passes}
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert metas[0].metainfo['img_shape'] == (48, 64)


def test_threads_share_a_model():
    model = build(test_cfg=SLIDE)
    inputs = images(batch=6)
    alone = [predict(model, image[None], samples(1))[0] for image in inputs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(
            lambda image: predict(model, image[None], samples(1))[0], inputs))
    for one, other in zip(alone, together):
        assert torch.equal(one.gate, other.gate)
        assert torch.equal(one.presence, other.presence)
        assert torch.equal(one.seg_logits.data, other.seg_logits.data)


def test_a_batch_is_its_images():
    model = build()
    inputs = images(batch=3)
    for image, prediction in zip(inputs, predict(model, inputs, samples(3))):
        alone = predict(model, image[None])[0]
        torch.testing.assert_close(prediction.gate, alone.gate)
        torch.testing.assert_close(prediction.presence, alone.presence)


def test_one_logit_for_two_classes():
    head = dict(
        ENCODING, num_classes=2, out_channels=1, threshold=0.4,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))
    for prediction in predict(build(head), images(), samples()):
        probability = prediction.seg_logits.data
        assert torch.equal(prediction.pred_sem_seg.data, (probability > 0.4).float())
        assert prediction.presence.shape == (2, )
