"""Decode heads that compute the cross-entropy without logits of the size of the labels."""

from __future__ import annotations

import warnings

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_encnet.errors import UserError
from mmseg_encnet.models import EncodingHead, UpsampledLossDecodeHead

CLASSES = 5
SIZE = (32, 40)
COMMON = dict(num_classes=CLASSES, channels=8, norm_cfg=dict(type='BN'), dropout_ratio=0.0)
MULTIPLE = dict(in_channels=[4, 6, 8, 10], in_index=[0, 1, 2, 3])
SINGLE = dict(in_channels=10, in_index=3)
SE_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2)
HEADS = {
    'SegformerHead': MULTIPLE,
    'UPerHead': dict(MULTIPLE, pool_scales=(1, 2)),
    'ASPPHead': dict(SINGLE, dilations=(1, 2)),
    'DepthwiseSeparableASPPHead': dict(SINGLE, dilations=(1, 2), c1_in_channels=4, c1_channels=4),
    'FCNHead': dict(SINGLE, num_convs=1),
    'PSPHead': dict(SINGLE, pool_scales=(1, 2)),
    'DAHead': dict(SINGLE, pam_channels=4),
    'EncHead': dict(MULTIPLE, num_codes=4, loss_se_decode=SE_LOSS),
    'EncodingHead': dict(MULTIPLE, num_codes=4, loss_se_decode=SE_LOSS),
    'AuxFCNHead': SINGLE,
}
# The toolbox's version of ours.
TOOLBOX_HEADS = {
    'EncodingHead': ('EncHead', dict()),
    'AuxFCNHead': ('FCNHead', dict(num_convs=1, concat_input=False)),
}
LOSSES = {
    'all pixels': dict(type='CrossEntropyLoss', loss_weight=0.4),
    'labelled pixels': dict(type='CrossEntropyLoss', avg_non_ignore=True),
    'class weights': dict(type='CrossEntropyLoss', class_weight=[1.0, 2, 3, 0.5, 0.1]),
    'sum': dict(type='CrossEntropyLoss', reduction='sum', loss_name='loss_sum'),
    'all processes': dict(type='SyncCrossEntropyLoss', loss_weight=0.4),
    'all processes, class weights': dict(
        type='SyncCrossEntropyLoss', class_weight=[1.0, 2, 3, 0.5, 0.1]
    ),
    'a logit a class': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'a logit a class, labelled pixels': dict(
        type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True, loss_weight=0.4
    ),
    'a logit a class, sum': dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum'),
    'a logit a class, all processes': dict(
        type='SyncCrossEntropyLoss', use_sigmoid=True, class_weight=[1.0, 2, 3, 0.5, 0.1]
    ),
    'two': [
        dict(type='CrossEntropyLoss', loss_weight=0.4),
        dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_name='loss_other'),
        dict(type='SyncCrossEntropyLoss'),
    ],
}
# These need logits of the size of the labels.
RESIZED = {
    'Dice': [dict(type='SyncCrossEntropyLoss'), dict(type='DiceLoss')],
    'Lovasz': dict(type='LovaszLoss', reduction='none', loss_weight=0.5),
}


def build(kind: str, **options) -> torch.nn.Module:
    """Build a head, with cross-entropy unless the options say otherwise."""
    cfg = {**COMMON, 'type': kind, **HEADS.get(options.get('head_type', kind), {})}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        torch.manual_seed(0)
        return MODELS.build({**cfg, **options})


def pair(name: str, **options) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return the toolbox's head and ours with the same weights."""
    ours = build('UpsampledLossHead', head_type=name, **options)
    if name in TOOLBOX_HEADS:
        name, extra = TOOLBOX_HEADS[name]
        options = {**options, **extra}
    theirs = build(name, **options)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return theirs, ours


def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(8, 10), (4, 5), (4, 5), (4, 5)]
    return [
        torch.randn(2, channels, *size, generator=generator)
        for channels, size in zip([4, 6, 8, 10], sizes)
    ]


def samples(classes: int = CLASSES) -> list[SegDataSample]:
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(classes, (2, 1, *SIZE), generator=generator)
    label[:, :, :7] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=part)) for part in label]


def losses_and_gradients(head, classes: int = CLASSES) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    losses = head.loss(inputs(), samples(classes), {})
    sum(value.sum() for key, value in losses.items() if 'loss' in key).backward()
    grads = {key: value.grad for key, value in head.named_parameters()}
    return {**{key: value.detach().mean() for key, value in losses.items()}, **grads}


def assert_same(ours: dict, theirs: dict) -> None:
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        scale = max(1e-3, value.abs().max().item())
        torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-5 * scale, msg=key)


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of floating-point tensors that operations return."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize('name', HEADS)
def test_every_head_has_the_losses_of_the_toolbox(name):
    theirs, ours = pair(name, loss_decode=dict(type='CrossEntropyLoss'))
    assert isinstance(ours, UpsampledLossDecodeHead)
    assert_same(losses_and_gradients(ours), losses_and_gradients(theirs))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('loss', LOSSES)
def test_cross_entropy_needs_no_logits_of_the_size_of_the_labels(loss, align_corners):
    options = dict(loss_decode=LOSSES[loss], align_corners=align_corners)
    theirs, ours = pair('FCNHead', **options)
    assert_same(losses_and_gradients(ours), losses_and_gradients(theirs))
    for head, resizes in ((theirs, True), (ours, False)):
        with LargestTensor() as largest:
            head.loss(inputs(), samples(), {})
        assert (largest.elements >= 2 * CLASSES * SIZE[0] * SIZE[1]) == resizes


@pytest.mark.parametrize('loss', RESIZED)
def test_other_losses_get_resized_logits(loss):
    theirs, ours = pair('FCNHead', loss_decode=RESIZED[loss])
    assert_same(losses_and_gradients(ours), losses_and_gradients(theirs))


@pytest.mark.parametrize(
    'sampler',
    [
        dict(type='OHEMPixelSampler', thresh=0.7, min_kept=50),
        dict(type='OHEMPixelSampler', min_kept=50),
        dict(type='BoundaryPixelSampler', width=2, weight=3.0),
    ],
)
def test_pixel_samplers_choose_pixels(sampler):
    for loss in ('labelled pixels', 'all pixels'):
        theirs, ours = pair('FCNHead', sampler=sampler, loss_decode=LOSSES[loss])
        assert_same(losses_and_gradients(ours), losses_and_gradients(theirs))


@pytest.mark.parametrize(
    ('loss', 'weight'),
    [('CrossEntropyLoss', None), ('SyncCrossEntropyLoss', None), ('SyncCrossEntropyLoss', 3.0)],
)
def test_one_score(loss, weight):
    options = dict(num_classes=2, out_channels=1, threshold=0.4)
    loss_decode = dict(type=loss, use_sigmoid=True)
    if weight is not None:
        loss_decode.update(class_weight=[weight])
    theirs, ours = pair('FCNHead', **options, loss_decode=loss_decode)
    expected, found = (losses_and_gradients(head, 2) for head in (theirs, ours))
    # The toolbox takes the index of the only score as the predicted class.
    del expected['acc_seg'], found['acc_seg']
    assert_same(found, expected)
    with torch.no_grad():
        score = torch.nn.functional.interpolate(ours(inputs()), SIZE, mode='bilinear')[:, 0]
    label = torch.cat([sample.gt_sem_seg.data for sample in samples(2)])
    right = ((score.sigmoid() > 0.4) == label)[label != 255].float().mean()
    accuracy = ours.loss(inputs(), samples(2), {})['acc_seg']
    assert accuracy.item() == pytest.approx(100 * right.item(), abs=1e-3)


@pytest.mark.parametrize('loss', LOSSES)
def test_no_head_waits_for_the_device(loss):
    """The meta device refuses everything that reads a value."""
    head = build('UpsampledLossHead', head_type='FCNHead', loss_decode=LOSSES[loss])
    head = head.to('meta')
    label = torch.zeros(1, *SIZE, dtype=torch.long, device='meta')
    data = [SegDataSample(gt_sem_seg=PixelData(data=label)) for _ in range(2)]
    losses = head.loss([x.to('meta') for x in inputs()], data, {})
    sum(value.sum() for key, value in losses.items() if 'loss' in key).backward()
    assert all(value.device.type == 'meta' for value in losses.values())


def test_names_that_are_no_head():
    for name in ('SegformerHeed', 'ResNetV1s', 'AuxEncodingHead'):
        with pytest.raises(UserError, match=f'got head_type={name!r}, expected a registered'):
            MODELS.build(dict(COMMON, type='UpsampledLossHead', head_type=name, **SINGLE))


def test_our_own_heads_are_built_as_they_are():
    head = build('UpsampledLossHead', head_type='EncodingHead')
    assert type(head) is EncodingHead


def test_a_segmentor_trains_with_it():
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='MixVisionTransformer', embed_dims=8, num_heads=[1, 1, 1, 1],
                          num_layers=[1, 1, 1, 1]),
            decode_head=dict(COMMON, type='UpsampledLossHead', head_type='SegformerHead',
                             in_channels=[8] * 4, in_index=[0, 1, 2, 3]),
        )
    )  # fmt: skip
    assert 'decode_head.fusion_conv.conv.weight' in model.state_dict()
    losses = model.loss(torch.randn(2, 3, *SIZE), samples())
    assert set(losses) == {'decode.loss_ce', 'decode.acc_seg'}
    losses['decode.loss_ce'].backward()
    assert model.decode_head.conv_seg.weight.grad.abs().sum() > 0
