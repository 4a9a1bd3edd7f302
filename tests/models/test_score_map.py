"""Labels are the same, bit for bit, whether all scores are computed at once or in parts.

Parts are ranges of classes and, with test-time augmentation, of rows.
"""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_encnet.models import ContextTTAModel, PublishedTTAModel
from mmseg_encnet.models.segmentors import score_map
from mmseg_encnet.models.segmentors.score_map import label_by_parts

NORM = dict(type='BN')
ENCODING = dict(type='EncodingHead', in_channels=[8, 16, 32], in_index=[1, 2, 3], num_codes=4)
FCN = dict(type='FCNHead', in_channels=32, in_index=3)
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(20, 20))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(score_map, 'PART_BYTES', 1)
    monkeypatch.setattr(score_map, 'LOG_SUM_BYTES', 2**15)


def build(head: dict, test_cfg: dict, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type='ContextEncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[120.0] * 3, std=[60.0] * 3, size=(32, 32)
            ),
            backbone=dict(
                type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, norm_cfg=NORM
            ),
            decode_head=dict(dict(head, channels=8, num_classes=21, norm_cfg=NORM), **kwargs),
            test_cfg=test_cfg,
        )
    ).eval()
    model.init_weights()
    for module in model.decode_head.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.normal_(module.weight, std=0.3)
    return model


def samples(keep: bool) -> list[SegDataSample]:
    """Return the metainfo of a padded image, a mirrored one and an upside down one."""
    cases = [
        dict(img_padding_size=[0, 9, 0, 5]),
        dict(flip=True, flip_direction='horizontal'),
        dict(flip=True, flip_direction='vertical', padding_size=[1, 2, 3, 4]),
    ]
    return [
        SegDataSample(
            metainfo=dict(case, ori_shape=(150 + i, 97), img_shape=(48, 64), keep_seg_logits=keep)
        )
        for i, case in enumerate(cases)
    ]


@pytest.mark.parametrize(
    'head, options',
    [
        (ENCODING, {}),
        (ENCODING, dict(align_corners=True)),
        (FCN, {}),
        (ENCODING, dict(num_classes=2, out_channels=1, threshold=0.4)),
    ],
    ids=['encoding', 'aligned corners', 'FCN', 'one score'],
)
@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_labels_of_the_toolbox(head, options, test_cfg, memory_format):
    model = build(head, test_cfg, **options)
    inputs = torch.randn(3, 3, 48, 64).to(memory_format=memory_format)
    model = model.to(memory_format=memory_format)
    stock = deepcopy(model)
    stock.__class__ = MODELS.get('EncoderDecoder')
    expected = stock.predict(inputs, samples(keep=True))
    found = model.predict(inputs, samples(keep=False))
    for one, other in zip(found, expected):
        assert 'seg_logits' not in one
        assert torch.equal(one.pred_sem_seg.data.long(), other.pred_sem_seg.data.long())
        assert len(one.pred_sem_seg.data.unique()) > 1


@torch.no_grad()
def test_absent_classes_and_the_score_map():
    model = build(ENCODING, dict(mode='whole', presence_threshold=0.5, context_maps=True))
    inputs = torch.randn(3, 3, 48, 64)
    expected = model.predict(inputs, samples(keep=True))
    found = model.predict(inputs, samples(keep=False))
    for one, other in zip(found, expected):
        absent = one.presence < 0.5
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
        assert not absent[one.pred_sem_seg.data.unique()].any()
        assert torch.equal(one.score_map.labels(absent), one.pred_sem_seg.data)
        assert torch.equal(one.score_map.scores(), other.seg_logits.data)


@pytest.mark.parametrize('head', [ENCODING, FCN], ids=['encoding', 'FCN'])
def test_published_evaluation(head):
    model = PublishedTTAModel(build(head, SLIDE), base_size=50, scales=(0.5, 1.0, 1.75))
    image = torch.randint(0, 256, (3, 90, 61), dtype=torch.uint8)
    whole, parts = (
        model.test_step(dict(inputs=[image], data_samples=[sample]))[0]
        for sample in (samples(True)[0], samples(False)[0])
    )
    assert 'seg_logits' not in parts
    assert torch.equal(parts.pred_sem_seg.data, whole.pred_sem_seg.data)


@pytest.mark.parametrize(
    'head, options',
    [
        (ENCODING, {}),
        (ENCODING, dict(num_classes=2)),
        (ENCODING, dict(num_classes=2, out_channels=1, threshold=0.4)),
        (FCN, {}),
    ],
    ids=['encoding', 'two classes', 'one score', 'FCN'],
)
@pytest.mark.parametrize(
    'test_cfg', [dict(mode='whole', presence_threshold=0.5), SLIDE], ids=['whole', 'slide']
)
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_test_time_augmentation(head, options, test_cfg, memory_format):
    if head is FCN:
        test_cfg = dict(test_cfg, presence_threshold=None)
    model = ContextTTAModel(build(head, test_cfg, **options)).to(memory_format=memory_format)
    stock = SegTTAModel(deepcopy(model.module))
    inputs = [[torch.randn(3, size, 64)] for size in (48, 64)]

    def run(merger, keep):
        metas = dict(ori_shape=(150, 97), keep_seg_logits=keep, img_path='')
        metas['flip_direction'] = 'horizontal'
        samples = [
            [SegDataSample(metainfo=dict(metas, img_shape=image.shape[1:], flip=flip))]
            for (image,), flip in zip(inputs, (False, True))
        ]
        return merger.test_step(dict(inputs=inputs, data_samples=samples))[0]

    kept, found = run(model, True), run(model, False)
    assert 'seg_logits' in kept and 'seg_logits' not in found
    assert torch.equal(found.pred_sem_seg.data, kept.pred_sem_seg.data)
    assert len(found.pred_sem_seg.data.unique()) > 1 or 'num_classes' in options
    if 'out_channels' not in options and not test_cfg.get('presence_threshold'):
        # Only classes of the same probability, up to rounding, may change places.
        probability = kept.seg_logits.data.exp()
        one, other = (
            probability.gather(0, sample.pred_sem_seg.data) for sample in (found, run(stock, True))
        )
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize('num_classes', [1, 3, 4, 7, 8, 21])
def test_ties_and_nan_as_in_argmax(num_classes):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (num_classes, 40, 50), generator=generator).float()
    scores[scores == 3] = torch.tensor([float('nan'), float('inf')])[
        torch.randint(0, 2, (int((scores == 3).sum()),), generator=generator)
    ]
    labels = label_by_parts(lambda classes: scores[classes], num_classes, (40, 50))
    assert torch.equal(labels, scores.argmax(dim=0, keepdim=True))


MEASURE = """
import resource
import sys

import torch

from mmseg_encnet.models.segmentors import ScoreMap
from mmseg_encnet.models.segmentors import score_map as module
from mmseg_encnet.models.segmentors.score_map import MergedScoreMap
from mmseg_encnet.models.segmentors.windows import place_windows

size = (48, 64)
logits = torch.randn(1, 150, *size)
windows = place_windows(size, size, size, shift_last=True)
size_of_image = tuple(map(int, sys.argv[2:]))
meta = dict(ori_shape=size_of_image)
torch.zeros(1).exp()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
score_map = ScoreMap([logits], windows, size, meta, False)
if sys.argv[1] == 'merged':
    module.PART_BYTES = 2**25
    score_map = MergedScoreMap([score_map] * 3)
assert score_map.labels().shape == (1, *size_of_image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    'views, size, limit',
    [
        # All scores would take 0.8 GiB.
        ('one', (1000, 1500), 0.45),
        # All scores would take 0.2 GiB per view.
        ('merged', (500, 750), 0.15),
    ],
)
def test_memory_does_not_grow_with_the_classes(views, size, limit):
    result = subprocess.run(
        [sys.executable, '-c', MEASURE, views, *map(str, size)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout.split()[-1]) / 2**20 < limit
