"""Presence for any segmentor, shown with tiny versions of the toolbox's own networks."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule, revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_encnet.checkpoints.fit import check_fits
from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation import PresenceMetric
from mmseg_encnet.models import ContextTTAModel, PresenceHead, PublishedTTAModel
from mmseg_encnet.models.segmentors import absent_classes
from mmseg_encnet.predicting.segmentor import _with_labels_by_parts
from mmseg_encnet.running.hooks.fit_check_hook import FitCheckHook
from mmseg_encnet.visualization.context_sheet import draw_sample
from mmseg_encnet.visualization.style import pixels

CONFIGS = Path(mmseg.__file__).parent / '.mim' / 'configs'
CLASSES, SIZE = 5, 64
AVERAGE = dict(type='GlobalAverage')
RESNET = {
    'pretrained': None,
    'backbone.depth': 18,
    'backbone.stem_channels': 8,
    'backbone.base_channels': 8,
}
WIDTHS = [8, 16, 32, 64]
# Config of the toolbox, options that shrink it, and its stage 3.
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    'SegFormer': (
        '_base_/models/segformer_mit-b0.py',
        {
            'backbone.embed_dims': 8,
            'backbone.num_layers': [1, 1, 1, 1],
            'decode_head.in_channels': [8, 16, 40, 64],
            'decode_head.channels': 16,
            'decode_head.num_classes': CLASSES,
        },
        dict(in_channels=40, in_index=2),
    ),
    'UPerNet': (
        '_base_/models/upernet_r50.py',
        RESNET
        | {
            'decode_head.in_channels': WIDTHS,
            'decode_head.channels': 16,
            'decode_head.num_classes': CLASSES,
        },
        dict(in_channels=32, in_index=2),
    ),
    'DeepLabV3': (
        '_base_/models/deeplabv3_r50-d8.py',
        RESNET
        | {
            'decode_head.in_channels': 64,
            'decode_head.channels': 16,
            'decode_head.num_classes': CLASSES,
        },
        dict(in_channels=64, in_index=-1),
    ),
    # A cascade of two heads.
    'OCRNet': (
        '_base_/models/ocrnet_r50-d8.py',
        RESNET
        | {
            'decode_head.0.in_channels': 32,
            'decode_head.0.channels': 16,
            'decode_head.0.num_classes': CLASSES,
            'decode_head.1.in_channels': 64,
            'decode_head.1.channels': 16,
            'decode_head.1.ocr_channels': 8,
            'decode_head.1.num_classes': CLASSES,
        },
        dict(in_channels=64, in_index=3),
    ),
    'Mask2Former': (
        'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        {
            'backbone.depth': 18,
            'backbone.base_channels': 8,
            'backbone.init_cfg': None,
            'data_preprocessor.size': (SIZE, SIZE),
            'decode_head.in_channels': WIDTHS,
            'decode_head.num_classes': CLASSES,
            'decode_head.num_queries': 6,
            'decode_head.transformer_decoder.num_layers': 1,
            'decode_head.pixel_decoder.encoder.num_layers': 1,
            'decode_head.loss_cls.class_weight': [1.0] * CLASSES + [0.1],
            'decode_head.train_cfg.num_points': 64,
        },
        dict(in_channels=32, in_index=2),
    ),
}
WITH_MMDET = [
    pytest.param(
        'Mask2Former',
        marks=pytest.mark.skipif(importlib.util.find_spec('mmdet') is None, reason='needs mmdet'),
    )
]
ALL = [*(name for name in NETWORKS if name != 'Mask2Former'), *WITH_MMDET]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


@MODELS.register_module()
class MaskHead(BaseModule):
    """Predicts and computes its losses itself, as Mask2Former's head does."""

    align_corners = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = self.out_channels = num_classes
        self.classify = nn.Conv2d(8, num_classes, 1)

    def loss(self, inputs: list[Tensor], samples: list[SegDataSample], train_cfg: dict) -> dict:
        labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
        logits = resize(self.classify(inputs[0]), labels.shape[1:])
        return dict(loss_mask=F.cross_entropy(logits, labels, ignore_index=255))

    def predict(self, inputs: list[Tensor], metas: list[dict], test_cfg: dict) -> Tensor:
        return resize(self.classify(inputs[0]), metas[0]['img_shape'], mode='bilinear')


def config(name: str) -> dict[str, Any]:
    path, options, _ = NETWORKS[name]
    model = Config.fromfile(CONFIGS / path).model
    cfg = Config(dict(model=model))
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    model = cfg.model.to_dict()
    model.pop('auxiliary_head', None)
    model['data_preprocessor'].setdefault('size', (SIZE, SIZE))
    return model


def with_presence(model: dict[str, Any], **head: Any) -> dict[str, Any]:
    """Return the config with the three lines that the documentation shows."""
    kinds = dict(
        EncoderDecoder='ContextEncoderDecoder', CascadeEncoderDecoder='ContextCascadeEncoderDecoder'
    )
    return dict(
        model,
        type=kinds[model['type']],
        auxiliary_head=dict(dict(type='PresenceHead', num_classes=CLASSES), **head),
    )


def build(model: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return revert_sync_batchnorm(MODELS.build(Config(dict(model=copy.deepcopy(model))).model))


def network(name: str = 'SegFormer', **head: Any) -> nn.Module:
    return build(with_presence(config(name), **dict(NETWORKS[name][2], num_codes=4, **head)))


def batch() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    inputs, samples = [], []
    for index in range(2):
        inputs.append(torch.from_numpy(rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)))
        labels = torch.full((1, SIZE, SIZE), index)
        labels[:, SIZE // 2 :] = 2 + index
        labels[:, :8] = 255
        meta = dict(
            img_shape=(SIZE, SIZE), ori_shape=(50, 70), pad_shape=(SIZE, SIZE), padding_size=[0] * 4
        )
        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def predict(model: nn.Module, **meta: Any) -> list[SegDataSample]:
    data = batch()
    for sample in data['data_samples']:
        sample.set_metainfo(meta)
    with torch.no_grad():
        return model.eval().test_step(data)


@pytest.mark.parametrize('encoder', [None, AVERAGE], ids=['encoding', 'average'])
@pytest.mark.parametrize('name', ALL)
def test_trains_and_predicts_in_networks_of_the_toolbox(name: str, encoder: dict | None) -> None:
    head = dict(NETWORKS[name][2], encoder=encoder, num_codes=None if encoder else 4)
    model = build(with_presence(config(name), **head)).train()
    losses = model.loss(**model.data_preprocessor(batch(), training=True))
    assert 'aux.loss_se' in losses
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is not None for p in model.auxiliary_head.parameters())

    sample = predict(model, context_maps=True)[0]
    with torch.no_grad():
        data = model.data_preprocessor(batch())
        expected = model.auxiliary_head(model.extract_feat(data['inputs'])).sigmoid()
    torch.testing.assert_close(sample.presence, expected[0])
    assert sample.pred_sem_seg.data.shape == (1, 50, 70)
    if encoder:
        assert 'assignments' not in sample
    else:
        maps = sample.assignments.data
        assert maps.shape == (4, 50, 70)
        torch.testing.assert_close(maps.sum(dim=0), torch.ones(50, 70))
    # Nothing else changes: the labels are those of the toolbox's segmentor without the head.
    stock = build(config(name))
    stock.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(sample.pred_sem_seg.data, predict(stock)[0].pred_sem_seg.data)
    torch.testing.assert_close(sample.seg_logits.data, predict(stock)[0].seg_logits.data)


def test_heads_with_a_prediction_of_their_own() -> None:
    cfg = dict(config('SegFormer'), decode_head=dict(type='MaskHead', num_classes=CLASSES))
    model = build(with_presence(cfg, in_channels=64))
    losses = model.loss(**model.data_preprocessor(batch(), training=True))
    assert set(losses) == {'decode.loss_mask', 'aux.loss_se'}
    labels = [predict(model)[0].pred_sem_seg.data]
    assert predict(model)[0].presence.shape == (CLASSES,)
    stock = build(cfg)
    stock.load_state_dict(model.state_dict(), strict=False)
    labels.append(predict(stock)[0].pred_sem_seg.data)
    assert torch.equal(*labels)


def test_features_are_computed_once() -> None:
    model, calls = network(), []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    predict(model)
    assert len(calls) == 1


def test_windows_keep_the_largest_presence() -> None:
    model = network()
    model.test_cfg.update(mode='slide', crop_size=(32, 64), stride=(32, 64))
    sample = predict(model)[1]
    with torch.no_grad():
        images = model.data_preprocessor(batch())['inputs'][1:]
        parts = [
            model.auxiliary_head(model.extract_feat(part)).sigmoid() for part in images.split(32, 2)
        ]
    torch.testing.assert_close(sample.presence, torch.maximum(*parts)[0])


def test_suppression_metric_sheet_and_views() -> None:
    model = network()
    nn.init.normal_(model.auxiliary_head.se_layer.weight, std=3)
    plain = predict(model)[0]
    threshold = plain.presence.median().item()
    model.test_cfg['presence_threshold'] = threshold
    sample = predict(model, context_maps=True)[0]
    absent = absent_classes(sample.presence, threshold)
    assert absent.any() and not absent[sample.pred_sem_seg.data].any()
    expected = plain.seg_logits.data.masked_fill(absent[:, None, None], -torch.inf).argmax(0)
    assert torch.equal(sample.pred_sem_seg.data[0], expected)
    assert torch.equal(sample.score_map.labels()[0], plain.pred_sem_seg.data[0])

    metric = PresenceMetric()
    metric.dataset_meta = dict(classes=list('abcde'), palette=[[40 * i] * 3 for i in range(5)])
    metric.process({}, [one.to_dict() for one in predict(model)])
    assert set(metric.evaluate(2)) == {
        f'presence/{key}' for key in ('mAP', 'F1_macro', 'F1_micro', 'ECE')
    }

    del sample.gt_sem_seg
    sheet = draw_sample(np.zeros((50, 70, 3), np.uint8), sample, metric.dataset_meta, 'one')
    assert pixels(sheet).size

    views = [[one] for one in batch()['inputs']]
    data = dict(inputs=views, data_samples=[[one] for one in batch()['data_samples']])
    with torch.no_grad():
        (merged,) = ContextTTAModel(module=model).test_step(data)
    mean = torch.stack([one.presence for one in predict(model)]).mean(dim=0)
    torch.testing.assert_close(merged.presence, mean)

    model.test_cfg.update(crop_size=(SIZE, SIZE), stride=(SIZE, SIZE))
    published = PublishedTTAModel(module=model, base_size=SIZE, scales=(1.0,))
    one = {key: value[:1] for key, value in batch().items()}
    assert published.test_step(one)[0].presence.shape == (CLASSES,)


def test_one_of_several_auxiliary_heads() -> None:
    cfg = with_presence(config('SegFormer'), in_channels=64)
    fcn = dict(type='AuxFCNHead', in_channels=40, in_index=2, num_classes=CLASSES)
    cfg['auxiliary_head'] = [fcn, cfg['auxiliary_head']]
    model = build(cfg)
    losses = model.loss(**model.data_preprocessor(batch(), training=True))
    assert {'aux_0.loss_ce', 'aux_1.loss_se'} <= set(losses)
    assert 'presence' in predict(model)[0]
    assert isinstance(model.presence_head, PresenceHead)


def second(cfg: dict) -> dict:
    return dict(cfg, auxiliary_head=[cfg['auxiliary_head']] * 2)


def beside_encnet(cfg: dict) -> dict:
    head = dict(
        type='EncodingHead', in_channels=[64], in_index=[3], channels=8, num_classes=CLASSES
    )
    return dict(cfg, decode_head=head)


@pytest.mark.parametrize(
    'head, change, message',
    [
        (dict(in_index=4), dict, r'got 4 in model.auxiliary_head.in_index, .* 4 feature maps; '),
        (dict(in_index=-5), dict, 'got -5 in model.auxiliary_head.in_index'),
        (dict(num_classes=4), dict, r'auxiliary_head.num_classes=4, .* num_classes=5; set both'),
        (dict(), second, r'2 heads .* \(model.auxiliary_head.0, model.auxiliary_head.1\)'),
        (dict(), beside_encnet, r'model.decode_head, model.auxiliary_head.*use_se_loss=False'),
        (dict(num_codes=0), dict, 'num_codes must be positive, got 0'),
        (dict(encoder=AVERAGE, num_codes=8), dict, 'GlobalAverage has no dictionary'),
        (dict(loss_se_decode=dict(type='SemanticEncodingLoss', pos_weight=[1.0, 2.0])), dict,
         'pos_weight of 2 classes in loss_se_decode, expected 5'),
    ],
)  # fmt: skip
def test_mistakes_are_named_at_build(
    head: dict, change: Callable[[dict], dict], message: str
) -> None:
    cfg = with_presence(config('SegFormer'), **dict(dict(in_channels=64), **head))
    with pytest.raises(UserError, match=message):
        build(change(cfg))


def test_a_threshold_without_presence_is_refused() -> None:
    cfg = dict(config('SegFormer'), type='ContextEncoderDecoder')
    cfg['test_cfg'] = dict(cfg['test_cfg'], presence_threshold=0.1)
    with pytest.raises(UserError, match=r'SegformerHead has no SE branch.*PresenceHead'):
        build(cfg)


@pytest.mark.parametrize(
    'head, message',
    [
        (dict(in_channels=32, in_index=3), r'64 channels at in_index=3.*set in_channels=64'),
        # A neck that does not declare the number of its outputs.
        (
            dict(in_channels=64, in_index=9),
            'got 9 in PresenceHead.in_index, .* returns 4 feature maps',
        ),
    ],
)
def test_other_features_are_named(head: dict, message: str) -> None:
    model = build(dict(with_presence(config('SegFormer'), **head), type='EncoderDecoder'))
    with pytest.raises(UserError, match=message):
        model.loss(**model.data_preprocessor(batch(), training=True))


def test_class_tokens_are_left_out() -> None:
    head = PresenceHead(in_channels=8, num_classes=CLASSES).eval()
    x = torch.rand(2, 8, 4, 4)
    assert torch.equal(head([(x, torch.rand(2, 8))]), head([x]))


def test_a_test_needs_the_weights_of_the_presence_head() -> None:
    model = network()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith('auxiliary_head.')}
    check_fits(model, weights, whole=False)
    with pytest.raises(UserError, match=r'lacks .*\(auxiliary_head\.'):
        check_fits(model, weights, whole=True)


def test_the_stock_segmentor_keeps_its_predictions() -> None:
    stock = dict(with_presence(config('SegFormer'), in_channels=64), type='EncoderDecoder')
    assert _with_labels_by_parts(stock) is stock
    assert 'presence' not in predict(build(stock))[0]
    assert _with_labels_by_parts(config('OCRNet'))['type'] == 'CascadeEncoderDecoder'


def test_more_classes_in_the_data_are_refused() -> None:
    class Runner:
        model = network()
        _val_loop = _test_loop = None

    from mmengine.runner import IterBasedTrainLoop

    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop.dataloader = type(
        'L', (), dict(dataset=type('D', (), dict(metainfo=dict(classes='abcdef')))())
    )()
    Runner._train_loop = loop
    with pytest.raises(UserError, match='num_classes=5, but D has 6 classes'):
        FitCheckHook().before_run(Runner())
