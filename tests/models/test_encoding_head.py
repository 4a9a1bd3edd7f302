"""The decode head against the toolbox's, and each of its own switches."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.models.utils import Encoding as ToolboxEncoding
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import Encoding

IN_CHANNELS = [6, 8, 12]
CHANNELS = 16
STOCK_SE_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2)
OUR_SE_LOSS = dict(type='SemanticEncodingLoss', loss_weight=0.2)


def head_cfg(**options) -> dict:
    return dict(
        dict(
            type='EncodingHead',
            in_channels=IN_CHANNELS,
            in_index=[1, 2, 3],
            channels=CHANNELS,
            num_codes=8,
            num_classes=5,
            norm_cfg=dict(type='BN'),
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        ),
        **options,
    )


def build(**options) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        return MODELS.build(head_cfg(**options))


def feature_maps(batch: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(18, 14), (9, 7), (9, 7), (9, 7)]
    return [
        torch.randn(batch, channels, *size, generator=generator, dtype=dtype)
        for channels, size in zip([4, *IN_CHANNELS], sizes)
    ]


def samples(num_classes: int, batch: int = 3, ignore_index: int = 255) -> list[SegDataSample]:
    generator = torch.Generator().manual_seed(2)
    result = []
    for _ in range(batch):
        # The last class does not occur, unless it is the only one.
        label = torch.randint(max(num_classes - 1, 1), (1, 36, 28), generator=generator)
        label[:, :9] = ignore_index
        sample = SegDataSample(metainfo=dict(img_shape=(36, 28), ori_shape=(36, 28)))
        sample.gt_sem_seg = PixelData(data=label)
        result.append(sample)
    return result


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(value for key, value in losses.items() if 'loss' in key)


def relative_error(value: Tensor, expected: Tensor) -> float:
    return ((value - expected).norm() / expected.norm().clamp(min=1e-12)).item()


@pytest.mark.parametrize('add_lateral', [False, True])
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('loss_se_decode', [STOCK_SE_LOSS, OUR_SE_LOSS], ids=['stock', 'ours'])
def test_equals_the_toolbox_head(add_lateral, align_corners, training, loss_se_decode):
    options = dict(
        add_lateral=add_lateral, align_corners=align_corners, loss_se_decode=loss_se_decode
    )
    heads = {}
    for kind in ('EncHead', 'EncodingHead'):
        torch.manual_seed(0)
        heads[kind] = build(type=kind, **options)
        heads[kind].init_weights()
    shapes = [
        {key: value.shape for key, value in head.state_dict().items()} for head in heads.values()
    ]
    assert shapes[0] == shapes[1]
    for theirs, ours in zip(heads['EncHead'].parameters(), heads['EncodingHead'].parameters()):
        assert torch.equal(theirs, ours)  # same initialisation from the same seed

    # A classifier that is not near zero, and norms with non-initial statistics.
    state = heads['EncHead'].double().state_dict()
    generator = torch.Generator().manual_seed(3)
    for key, value in state.items():
        if value.dtype.is_floating_point and 'codewords' not in key and 'scale' not in key:
            value.add_(torch.rand(value.shape, generator=generator, dtype=value.dtype) * 0.2)
    heads['EncodingHead'].double().load_state_dict(state, strict=True)

    results = {}
    for kind, head in heads.items():
        inputs = [x.requires_grad_() for x in feature_maps(dtype=torch.float64)]
        head.train(training)
        torch.manual_seed(4)  # the same dropout
        outputs = head(inputs)
        losses = head.loss_by_feat(outputs, samples(5))
        total(losses).backward()
        grads = {key: value.grad for key, value in head.named_parameters()}
        grads.update({f'input {i}': x.grad for i, x in enumerate(inputs) if x.grad is not None})
        predicted = head.predict(inputs, [sample.metainfo for sample in samples(5)], {})
        results[kind] = dict(losses, seg=outputs[0], se=outputs[1], predicted=predicted, **grads)
    theirs, ours = results.values()
    assert list(theirs) == list(ours)
    errors = {key: relative_error(ours[key], theirs[key]) for key in theirs}
    assert max(errors.values()) < 1e-5, errors


def test_layer_equals_the_toolbox_layer():
    layers = []
    for kind in (ToolboxEncoding, Encoding):
        torch.manual_seed(0)
        layers.append(kind(channels=7, num_codes=5))
    states = [layer.state_dict() for layer in layers]
    assert list(states[0]) == list(states[1]) == ['codewords', 'scale']
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    x = torch.randn(2, 7, 4, 3)
    torch.testing.assert_close(layers[1](x), layers[0](x))
    torch.testing.assert_close(layers[1](x.flatten(2)), layers[0](x))


SWITCHES = {
    'as published': dict(),
    'without SE loss': dict(use_se_loss=False),
    'lateral': dict(add_lateral=True),
    'lateral without SE loss': dict(add_lateral=True, use_se_loss=False),
    'sum over codewords': dict(reduction='sum'),
    'gate that scales': dict(gate='scale'),
    '1 code': dict(num_codes=1),
    '32 codes': dict(num_codes=32),
    'no codes': dict(num_codes=None, encoder=dict(type='GlobalAverage')),
    'reference backend': dict(encoder=dict(backend='reference')),
    'BN': dict(norm_cfg=dict(type='BN')),
    'SyncBN': dict(norm_cfg=dict(type='SyncBN')),
    'IN': dict(norm_cfg=dict(type='IN', affine=True)),
    'GN': dict(norm_cfg=dict(type='GN', num_groups=4)),
    'norm None': dict(norm_cfg=None),
    'aligned corners': dict(align_corners=True, add_lateral=True),
    'stock SE loss': dict(loss_se_decode=STOCK_SE_LOSS),
    '1 class': dict(num_classes=1),
    '2 classes': dict(num_classes=2),
    '2 classes, one logit': dict(
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
    ),
    '21 classes': dict(num_classes=21),
    '300 classes': dict(num_classes=300, ignore_index=-1),
    'ignored label among the classes': dict(num_classes=300, ignore_index=255),
    'two losses': dict(
        loss_decode=[
            dict(type='CrossEntropyLoss', loss_name='loss_ce'),
            dict(type='DiceLoss', loss_name='loss_dice'),
        ]
    ),
}


@pytest.mark.parametrize('name', SWITCHES)
def test_switch(name):
    options = SWITCHES[name]
    torch.manual_seed(0)
    # Synchronised norms train in a process group only; this is what a single process does.
    head = revert_sync_batchnorm(build(**options)).train()
    num_classes = options.get('num_classes', 5)
    inputs = feature_maps()
    data = samples(num_classes, ignore_index=options.get('ignore_index', 255))
    losses = head.loss(inputs, data, {})
    assert ('loss_se' in losses) == options.get('use_se_loss', True)
    assert ('loss_dice' in losses) == (name == 'two losses')
    assert all(torch.isfinite(value).all() for value in losses.values())
    total(losses).backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key

    head.eval()
    logits = head.predict(inputs, [sample.metainfo for sample in data], {})
    assert logits.shape == (3, options.get('out_channels', num_classes), 36, 28)
    output = head.forward_context(inputs)
    assert output.gate.shape == (3, CHANNELS)
    # A sum over the codewords saturates the sigmoid in single precision.
    assert ((output.gate > 0) & (output.gate <= 1)).all()
    assert output.projection.shape == (3, CHANNELS, 9, 7)
    if options.get('use_se_loss', True):
        assert output.se_logits.shape == (3, num_classes)
    else:
        assert output.se_logits is None


@pytest.mark.parametrize('part, key', [('loss_decode', 'loss_ce'), ('loss_se_decode', 'loss_se')])
@pytest.mark.parametrize('weight', [0.5, 3.0])
def test_a_loss_weight_scales_its_loss_alone(part, key, weight):
    losses = []
    for factor in (1.0, weight):
        cfgs = dict(loss_decode=head_cfg()['loss_decode'], loss_se_decode=OUR_SE_LOSS)
        cfgs[part] = dict(cfgs[part], loss_weight=factor)
        torch.manual_seed(0)
        losses.append(build(dropout_ratio=0, **cfgs).loss(feature_maps(), samples(5), {}))
    reference, scaled = losses
    for name in reference:
        factor = weight if name == key else 1.0
        torch.testing.assert_close(scaled[name], factor * reference[name])


def test_the_loss_is_given_the_classes_that_occur():
    """An ignored label does not count as a class, whatever its value."""
    seen = []

    class Recorder(nn.Module):
        def forward(self, logits: Tensor, presence: Tensor) -> Tensor:
            seen.append(presence)
            return logits.sum()

    head = build(num_classes=6, ignore_index=2)
    head.loss_se_decode = Recorder()
    label = torch.tensor([[[0, 2], [2, 4]], [[5, 5], [5, 5]], [[2, 2], [2, 2]]])
    data = samples(6)
    for sample, values in zip(data, label):
        sample.gt_sem_seg = PixelData(data=values[None])
    head.loss(feature_maps(), data, {})
    assert seen[0].tolist() == [[1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0] * 6]


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(num_codes=0), ['num_codes must be positive, got 0']),
        (dict(reduction='max'), ["unknown reduction 'max'", 'mean, sum']),
        (dict(gate='add'), ["unknown gate 'add'", 'residual, scale']),
        (dict(encoder=dict(num_codes=2)), ['num_codes=2', 'in the head']),
        (dict(encoder=dict(type='GlobalAverage')), ['num_codes=8', 'GlobalAverage', 'None']),
        (dict(encoder=dict(type='Vlad')), ['Vlad', 'VLAD']),
        (dict(encoder=dict(backend='tritn')), ['tritn', 'choose one of auto, native']),
        (dict(norm_cfg=dict(type='GN', num_groups=16)), ['num_groups=16', '8 rows', 'num_codes=8']),
        (
            dict(norm_cfg=dict(type='GN', num_groups=3), num_codes=9),
            ['num_groups=3', 'channels=16'],
        ),
        (dict(in_channels=12, in_index=3), ['in_channels', 'list']),
    ],
)
def test_arguments_that_cannot_work_are_named(options, words):
    with pytest.raises(UserError) as caught:
        build(**options)
    assert all(word in str(caught.value) for word in words)
    assert '\n' not in str(caught.value)


def test_the_config_given_is_left_as_it_was():
    cfg = head_cfg(encoder=dict(backend='dense'), loss_se_decode=OUR_SE_LOSS)
    before = copy.deepcopy(cfg)
    MODELS.build(cfg)
    assert cfg == before
