"""The fields that the segmentor adds to predictions; it keeps no state between calls."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops import assign

NUM_CLASSES, CHANNELS = 5, 8
WHOLE = dict(mode='whole')
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
ENCODING = dict(
    type='EncodingHead',
    in_channels=[8, 16, 32],
    in_index=[1, 2, 3],
    channels=CHANNELS,
    num_codes=4,
    num_classes=NUM_CLASSES,
    norm_cfg=dict(type='BN'),
)
FCN = dict(
    type='FCNHead',
    in_channels=32,
    in_index=3,
    channels=CHANNELS,
    num_classes=NUM_CLASSES,
    norm_cfg=dict(type='BN'),
)


def build(
    head: dict = ENCODING, test_cfg: dict = WHOLE, kind: str = 'ContextEncoderDecoder'
) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type=kind,
            data_preprocessor=dict(type='SegDataPreProcessor'),
            backbone=dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8),
            decode_head=head,
            test_cfg=test_cfg,
        )
    )
    model.init_weights()
    # As in a trained network, gates and classes must differ between images.
    for module in model.decode_head.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def images(batch: int = 2, size: tuple[int, int] = (48, 64)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *size, generator=generator)


def samples(batch: int = 2) -> list[SegDataSample]:
    return [
        SegDataSample(
            metainfo=dict(
                ori_shape=(30 + i, 40), img_shape=(48, 64), pad_shape=(48, 64), padding_size=[0] * 4
            )
        )
        for i in range(batch)
    ]


MAPS = {'assignments', 'gated_features', 'gated_channels'}


def asking(context_maps: bool | None, **metainfo) -> SegDataSample:
    """Return a sample whose metainfo requests maps, declines them or has no entry."""
    (data_sample,) = samples(1)
    data_sample.set_metainfo(metainfo)
    if context_maps is not None:
        data_sample.set_metainfo(dict(context_maps=context_maps))
    return data_sample


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, data_samples=None) -> list[SegDataSample]:
    return model.predict(inputs, data_samples)


def windows() -> list[tuple[int, int]]:
    """Return the top left corners of the 32 x 32 windows that cover 48 x 64 at stride 16."""
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

    crops = (
        [inputs]
        if test_cfg is WHOLE
        else [inputs[:, :, y : y + 32, x : x + 32] for y, x in windows()]
    )
    with torch.no_grad():
        outputs = [model.decode_head.forward_context(model.extract_feat(crop)) for crop in crops]
    gate = torch.stack([output.gate for output in outputs]).mean(dim=0)
    presence = torch.stack([output.se_logits.sigmoid() for output in outputs]).amax(dim=0)

    assert len(predictions) == 2
    for i, (prediction, stock_prediction) in enumerate(zip(predictions, expected)):
        assert torch.equal(prediction.pred_sem_seg.data, stock_prediction.pred_sem_seg.data)
        assert torch.equal(prediction.seg_logits.data, stock_prediction.seg_logits.data)
        assert prediction.presence.shape == (NUM_CLASSES,)
        assert prediction.gate.shape == (CHANNELS,)
        torch.testing.assert_close(prediction.presence, presence[i])
        torch.testing.assert_close(prediction.gate, gate[i])
        if with_samples:
            assert prediction.pred_sem_seg.data.shape == (1, 30 + i, 40)
    assert not torch.allclose(predictions[0].gate, predictions[1].gate)


@pytest.mark.parametrize(
    'head, fields',
    [
        (ENCODING, {'presence', 'gate'}),
        (dict(ENCODING, use_se_loss=False), {'gate'}),
        (FCN, set()),
    ],
    ids=['SE', 'no SE', 'FCN'],
)
@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
def test_fields_are_there_only_where_the_head_has_them(head, fields, test_cfg):
    for data_samples in (samples(), None):
        for prediction in predict(build(head, test_cfg), images(), data_samples):
            assert set(prediction.keys()) == {'pred_sem_seg', 'seg_logits'} | fields


@pytest.mark.parametrize(
    'test_cfg, passes',
    [(WHOLE, 1), (SLIDE, len(windows())), (dict(SLIDE, context_maps=True), len(windows()))],
)
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
    # Every other image requests maps.
    metas = [asking(i % 2 == 0) for i in range(6)]

    def one(index: int) -> SegDataSample:
        return predict(model, inputs[index][None], [copy.deepcopy(metas[index])])[0]

    alone = [one(i) for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(one, range(6)))
    for first, second in zip(alone, together):
        assert set(first.keys()) == set(second.keys())
        assert all(torch.equal(first.get(key), second.get(key)) for key in ('gate', 'presence'))
        for key in {'seg_logits', *MAPS} & set(first.keys()) - {'gated_channels'}:
            assert torch.equal(first.get(key).data, second.get(key).data)


def test_a_batch_is_its_images():
    model = build()
    inputs = images(batch=3)
    for image, prediction in zip(inputs, predict(model, inputs, samples(3))):
        alone = predict(model, image[None])[0]
        torch.testing.assert_close(prediction.gate, alone.gate)
        torch.testing.assert_close(prediction.presence, alone.presence)


def test_one_logit_for_two_classes():
    head = dict(
        ENCODING,
        num_classes=2,
        out_channels=1,
        threshold=0.4,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    for prediction in predict(build(head), images(), samples()):
        probability = prediction.seg_logits.data
        assert torch.equal(prediction.pred_sem_seg.data, (probability > 0.4).long())
        assert prediction.presence.shape == (2,)


def literal_maps(model: nn.Module, image: Tensor, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return assignments and channels before the gate of a 48 x 64 input, window by window."""
    size = 32 if model.test_cfg.mode == 'slide' else None
    head = model.decode_head
    encoder = head.enc_module.encoding[0]
    total = torch.zeros(encoder.num_codes + len(channels), 48, 64)
    count = torch.zeros(48, 64)
    for y, x in windows() if size else [(0, 0)]:
        place = (..., slice(y, y + (size or 48)), slice(x, x + (size or 64)))
        features = head.fuse(model.extract_feat(image[place]))
        projection = head.enc_module.encoding_project(features)
        weights = assign(projection, encoder.codewords, encoder.scale)
        maps = torch.cat([weights.view(1, -1, *features.shape[2:]), features[:, channels]], dim=1)
        total[place] += F.interpolate(
            maps, image[place].shape[2:], mode='bilinear', align_corners=head.align_corners
        )[0]
        count[place] += 1
    return (total / count).split([encoder.num_codes, len(channels)])


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    'metainfo',
    [
        dict(),
        dict(flip=True, flip_direction='horizontal'),
        dict(flip=True, flip_direction='vertical', img_padding_size=(3, 5, 2, 6)),
        dict(padding_size=(0, 16, 0, 8)),
    ],
    ids=['plain', 'flipped', 'flipped and padded', 'padded'],
)
@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
@torch.no_grad()
def test_maps_lie_where_the_logits_lie(test_cfg, metainfo, align_corners):
    model = build(dict(ENCODING, align_corners=align_corners), test_cfg)
    inputs = images()
    # Only the second image of the batch requests maps.
    data_samples = [asking(None), asking(True, **metainfo)]
    without, prediction = predict(model, inputs, data_samples)
    assert not MAPS & set(without.keys())

    order = prediction.gate.argsort(descending=True)
    assert torch.equal(prediction.gated_channels, torch.cat([order[:3], order[-3:]]))
    expected = literal_maps(model, inputs[1:], prediction.gated_channels)
    left, right, top, bottom = metainfo.get(
        'img_padding_size', metainfo.get('padding_size', (0, 0, 0, 0))
    )
    axis = dict(horizontal=2, vertical=1).get(metainfo.get('flip_direction'))
    for key, maps in zip(('assignments', 'gated_features'), expected):
        maps = maps[:, top : 48 - bottom, left : 64 - right]
        if axis:
            maps = maps.flip(axis)
        maps = F.interpolate(maps[None], (30, 40), mode='bilinear', align_corners=align_corners)[0]
        found = prediction.get(key).data
        torch.testing.assert_close(found, maps, rtol=1e-4, atol=1e-5)
    assert prediction.assignments.data.shape == (4, 30, 40)
    torch.testing.assert_close(prediction.assignments.data.sum(dim=0), torch.ones(30, 40))
    assert prediction.gated_channels.dtype == torch.int64


@pytest.mark.parametrize(
    ('by_default', 'asked', 'given'),
    [
        (None, None, False),
        (None, True, True),
        (True, None, True),
        (True, False, False),
    ],
)
def test_maps_come_on_request(by_default, asked, given):
    test_cfg = dict(WHOLE) if by_default is None else dict(WHOLE, context_maps=by_default)
    (prediction,) = predict(build(test_cfg=test_cfg), images(1), [asking(asked)])
    assert MAPS & set(prediction.keys()) == (MAPS if given else set())


def test_maps_without_data_samples_have_the_size_of_the_input():
    for prediction in predict(build(test_cfg=dict(SLIDE, context_maps=True)), images()):
        assert prediction.assignments.data.shape == (4, 48, 64)
        assert prediction.gated_features.data.shape == (6, 48, 64)


def test_an_encoder_without_dictionary_has_no_assignments():
    model = build(dict(ENCODING, num_codes=None, encoder=dict(type='GlobalAverage')))
    (prediction,) = predict(model, images(1), [asking(True)])
    assert MAPS & set(prediction.keys()) == {'gated_features', 'gated_channels'}
    assert prediction.gated_features.data.shape == (6, 30, 40)


@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
def test_absent_classes_get_no_pixel(test_cfg):
    plain = predict(build(test_cfg=test_cfg), images(), samples())
    presence = torch.stack([prediction.presence for prediction in plain])
    for threshold in (0.0, 0.5, float(presence.median()), 1.0):
        model = build(test_cfg=dict(test_cfg, presence_threshold=threshold))
        for prediction, before in zip(predict(model, images(), samples()), plain):
            assert torch.equal(prediction.seg_logits.data, before.seg_logits.data)
            kept = before.presence >= threshold
            kept[before.presence.argmax()] = True
            classes = torch.arange(NUM_CLASSES)[kept]
            expected = classes[before.seg_logits.data[kept].argmax(dim=0, keepdim=True)]
            assert torch.equal(prediction.pred_sem_seg.data, expected)
    assert len(classes) == 1


@pytest.mark.parametrize(
    ('head', 'threshold', 'message'),
    [
        (dict(ENCODING, use_se_loss=False), 0.1, 'the EncodingHead has no SE branch'),
        (FCN, 0.1, 'the FCNHead has no SE branch'),
        (ENCODING, 10, 'presence_threshold must be a probability from 0 to 1, got 10'),
        (ENCODING, 'high', "must be a probability from 0 to 1, got 'high'"),
    ],
)
def test_thresholds_that_cannot_work_are_refused(head, threshold, message):
    with pytest.raises(UserError, match=message):
        build(head, dict(WHOLE, presence_threshold=threshold))


def test_unknown_modes_are_refused():
    with pytest.raises(UserError, match=r"test_cfg\.mode must be 'whole' or 'slide', got 'tiles'"):
        predict(build(test_cfg=dict(mode='tiles')), images())
