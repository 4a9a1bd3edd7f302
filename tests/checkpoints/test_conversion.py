"""Checkpoints of other frameworks: recognised, converted, accounted for, or refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS
from original_weights import backbone, encnet, fill
from pickled_code import Payload
from torch import Tensor

from mmseg_encnet.checkpoints import convert_checkpoint, convert_state_dict
from mmseg_encnet.configuration.shipped import config_file
from mmseg_encnet.errors import UserError

SWITCHES = {
    'pcontext': dict(depth=50, num_classes=59, lateral=True),
    'ade20k': dict(depth=101, num_classes=150),
    'no auxiliary head': dict(depth=152, num_classes=19, aux=False),
    'no SE branch': dict(depth=50, num_classes=7, se_loss=False),
    'bare': dict(depth=50, num_classes=2, se_loss=False, aux=False),
    'FastFCN': dict(depth=50, num_classes=59, jpu=True),
    'FastFCN, bare': dict(depth=101, num_classes=150, jpu=True, se_loss=False, aux=False),
}


@pytest.mark.parametrize('name', SWITCHES)
def test_every_entry_is_used_and_fills_the_model(name):
    switches = SWITCHES[name]
    source = fill(encnet(**switches))
    conversion = convert_state_dict(source)
    assert conversion.source == ('FastFCN' if switches.get('jpu') else 'PyTorch-Encoding')
    assert conversion.used.keys() == source.keys()
    assert conversion.left == conversion.added == {}
    for theirs, ours in conversion.used.items():
        assert torch.equal(conversion.state_dict[ours], source[theirs])
    # Only shapes are needed, not the elements.
    with torch.device('meta'):
        model = MODELS.build(conversion.architecture.model_config())
    missing, unexpected = model.load_state_dict(conversion.state_dict, strict=False, assign=True)
    assert missing == unexpected == []
    head = model.decode_head
    assert (head.num_classes, head.add_lateral, head.use_se_loss, model.with_auxiliary_head) == (
        switches['num_classes'],
        switches.get('lateral', False),
        switches.get('se_loss', True),
        switches.get('aux', True),
    )
    jpu = switches.get('jpu', False)
    assert head.bottleneck.conv.kernel_size == ((1, 1) if jpu else (3, 3))
    assert model.backbone.layer4[1].conv2.dilation == ((1, 1) if jpu else (4, 4))


@pytest.mark.parametrize(
    'config, name',
    [
        ('encnet_r50_pcontext', 'pcontext'),
        ('encnet_r101_ade20k', 'ade20k'),
        ('encnet_r50_jpu-fastfcn_pcontext', 'FastFCN'),
    ],
)
def test_the_shipped_config_has_that_network(config, name):
    converted = convert_state_dict(fill(encnet(**SWITCHES[name])))
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(config_file(config)).model)
    model.load_state_dict(converted.state_dict, strict=True, assign=True)
    assert (
        model.decode_head.bottleneck.conv.kernel_size
        == (converted.state_dict['decode_head.bottleneck.conv.weight'].shape[2:])
    )


def fastfcn_neck(stages: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Build FastFCN's neck, from figure 3 of the paper, in the order of its code."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            weights[f'{name}.{entry}']
            for entry in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    size = stages[0].shape[2:]
    coarse_to_fine = []
    for stage, x in reversed(list(zip((3, 4, 5), stages))):
        x = norm(F.conv2d(x, weights[f'conv{stage}.0.weight'], padding=1), f'conv{stage}.1').relu()
        coarse_to_fine.append(F.interpolate(x, size, mode='bilinear', align_corners=True))
    x = torch.cat(coarse_to_fine, dim=1)
    outputs = []
    for index, dilation in enumerate((1, 2, 4, 8), start=1):
        name = f'dilation{index}'
        y = F.conv2d(
            x,
            weights[f'{name}.0.conv1.weight'],
            padding=dilation,
            dilation=dilation,
            groups=x.shape[1],
        )
        y = F.conv2d(norm(y, f'{name}.0.bn'), weights[f'{name}.0.pointwise.weight'])
        outputs.append(norm(y, f'{name}.1').relu())
    return torch.cat(outputs, dim=1)


def test_the_neck_of_fastfcn_computes_the_same():
    generator = torch.Generator().manual_seed(0)
    source = fill(encnet(depth=50, num_classes=3, jpu=True, aux=False))
    weights = {}
    for key, value in source.items():
        if key.startswith('jpu.') and value.dim():
            fan_in = max(value[0].numel(), 1)
            source[key] = torch.rand(value.shape, generator=generator) * (2 / fan_in**0.5)
            weights[key.removeprefix('jpu.')] = source[key]
    conversion = convert_state_dict(source)
    neck = MODELS.build(conversion.architecture.model_config().neck).eval()
    neck.load_state_dict(
        {
            key.removeprefix('neck.'): value
            for key, value in conversion.state_dict.items()
            if key.startswith('neck.')
        }
    )
    stages = [
        torch.randn(1, 512 * 2**index, 8 // 2**index, 12 // 2**index, generator=generator)
        for index in range(3)
    ]
    with torch.no_grad():
        expected, found = fastfcn_neck(stages, weights), neck(stages)[-1]
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_is_left_and_added_is_told():
    source = fill(encnet(depth=50, num_classes=3))
    counters = [key for key in source if key.endswith('num_batches_tracked')]
    for key in counters:
        del source[key]
    source |= {'pretrained.fc.weight': torch.zeros(10, 3), 'criterion.weight': torch.zeros(3)}
    conversion = convert_state_dict(source)
    assert conversion.left.keys() == {'pretrained.fc.weight', 'criterion.weight'}
    assert 'ImageNet' in conversion.left['pretrained.fc.weight']
    assert len(conversion.added) == len(counters)
    lines = '\n'.join(conversion.report(verbose=True))
    for words in (
        'PyTorch-Encoding: EncNet on ResNetV1s-50, 3 classes',
        'head.conv5.1 (weight, ',
        '-> decode_head.bottleneck.bn',
        'criterion.weight: not part',
        '2 entries not used',
    ):
        assert words in lines


@pytest.mark.parametrize('depth', [50, 101, 152])
def test_imagenet_backbone(depth, tmp_path):
    source = dict(fill(backbone(depth)), **{'fc.weight': torch.zeros(2, 3)})
    torch.save(source, tmp_path / 'source.pth')
    conversion = convert_checkpoint(tmp_path / 'source.pth', tmp_path / 'target.pth')
    assert conversion.left.keys() == {'fc.weight'}
    content = torch.load(tmp_path / 'target.pth', weights_only=True)
    with torch.device('meta'):
        model = MODELS.build(dict(type='ResNetV1s', depth=depth))
    model.load_state_dict(content['state_dict'], strict=True, assign=True)
    assert torch.equal(model.stem[7].weight, source['bn1.weight'])


def small_encnet(**options) -> dict:
    """Build a network with MMSegmentation's own head."""
    norm_cfg = dict(type='BN')
    model = dict(
        type='EncoderDecoder',
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=4, stem_channels=8, norm_cfg=norm_cfg
        ),
        decode_head=dict(
            type='EncHead',
            in_channels=[8, 16, 32],
            in_index=[1, 2, 3],
            channels=8,
            num_codes=4,
            num_classes=5,
            norm_cfg=norm_cfg,
            loss_decode=dict(type='CrossEntropyLoss'),
            loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=16,
            in_index=2,
            channels=4,
            num_convs=1,
            concat_input=False,
            num_classes=5,
            norm_cfg=norm_cfg,
            loss_decode=dict(type='CrossEntropyLoss'),
        ),
    )
    model['decode_head'].update(options)
    return model


@pytest.mark.parametrize(
    'options', [{}, dict(add_lateral=True), dict(norm_cfg=dict(type='GN', num_groups=2))]
)
def test_mmsegmentation_passes_as_it_is(options, tmp_path):
    state_dict = MODELS.build(small_encnet(**options)).state_dict()
    meta = dict(CLASSES=list('abcde'), PALETTE=[[0, 0, 0]] * 5, mAP=np.float64(0.5))
    torch.save(dict(meta=meta, state_dict=state_dict), tmp_path / 'source.pth')
    conversion = convert_checkpoint(tmp_path / 'source.pth', tmp_path / 'target.pth')
    assert conversion.source == 'MMSegmentation'
    assert conversion.left == {}
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'target.pth'))
    assert content['meta']['dataset_meta']['classes'] == list('abcde')
    ours = MODELS.build(small_encnet(type='EncodingHead', loss_se_decode=None, **options))
    ours.load_state_dict(content['state_dict'], strict=True)

    del state_dict['decode_head.enc_module.fc.0.bias']
    with pytest.raises(UserError, match=r'lacks 1 entries: decode_head\.enc_module\.fc\.0\.bias'):
        convert_state_dict(state_dict)


def without(*starts: str) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in fill(encnet(depth=50, num_classes=3)).items()
        if not key.startswith(starts)
    }


REFUSED = {
    'a missing layer': (
        lambda: without('head.encmodule.fc.'),
        ['lacks 2 of', 'head.encmodule.fc.0.weight, head.encmodule.fc.0.bias'],
    ),
    'half an auxiliary head': (
        lambda: without('auxlayer.conv5.4'),
        ['auxlayer.conv5.4.weight, auxlayer.conv5.4.bias'],
    ),
    'no classifier': (lambda: without('head.conv6'), ['lacks head.conv6.1.weight']),
    'a missing block': (lambda: without('pretrained.layer3.5'), ['(3, 4, 5, 3) blocks']),
    'another width': (
        lambda: dict(without(), **{'head.conv5.1.bias': torch.zeros(7)}),
        ['head.conv5.1.bias of shape (512,) (got (7,))'],
    ),
    'another neck': (
        lambda: dict(without(), **{'jpu.jum_1.conv_l.0.weight': torch.zeros(7)}),
        ['JPU_X'],
    ),
    'another network': (
        lambda: {'conv1.weight': torch.zeros(64, 3, 7, 7), 'fc.bias': torch.zeros(3)},
        ['not a recognised EncNet', 'conv1.weight, fc.bias', 'head.encmodule.*'],
    ),
    'no head at all': (lambda: without('head.'), ['not a recognised EncNet']),
    'no names': (lambda: [torch.zeros(3)], ['contains a list, expected a state dict']),
    'no tensors': (lambda: dict(epoch=3), ["'epoch' is not a tensor"]),
    'nothing': (dict, ['it is empty']),
    'weights that are not finite': (
        lambda: dict(without(), **{'head.conv5.1.running_var': torch.full((512,), torch.nan)}),
        ['contains an entry with NaN or infinite values', 'head.conv5.1.running_var'],
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_with_what_is_missing_and_nothing_written(name, tmp_path):
    make, words = REFUSED[name]
    source = tmp_path / 'source.pth'
    torch.save(make(), source)
    with pytest.raises(UserError) as caught:
        convert_checkpoint(source, tmp_path / 'out' / 'target.pth')
    assert all(word in str(caught.value) for word in [str(source), *words]), str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    'content, words',
    [(None, 'does not exist'), (b'<html>sign in</html>', 'not a checkpoint'), (b'', 'truncated')],
)
def test_files_that_are_no_checkpoints(content, words, tmp_path):
    source = tmp_path / 'source.pth'
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(UserError, match=words):
        convert_checkpoint(source, tmp_path / 'target.pth')
    assert not (tmp_path / 'target.pth').exists()


def test_code_in_a_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
    torch.save(Payload(tmp_path / 'ran'), tmp_path / 'source.pth')
    with pytest.raises(UserError, match='could run code'):
        convert_checkpoint(tmp_path / 'source.pth', tmp_path / 'target.pth')
    assert not (tmp_path / 'ran').exists()


def test_a_checkpoint_of_their_training_in_progress(tmp_path):
    """Training checkpoints of both projects hold an optimiser and a score as a numpy scalar."""
    state_dict = {
        f'module.{key}': torch.zeros(1).expand(value.shape) if value.dim() else value
        for key, value in without().items()
    }
    torch.save(
        dict(
            epoch=3,
            state_dict=state_dict,
            optimizer=dict(state={}, param_groups=[]),
            best_pred=np.float64(0.5),
        ),
        tmp_path / 'checkpoint.pth.tar',
    )
    conversion = convert_checkpoint(tmp_path / 'checkpoint.pth.tar', tmp_path / 'target.pth')
    assert conversion.architecture.num_classes == 3


@pytest.mark.parametrize('name', ['encnet.pth', 'folder/encnet.pth.tar'])
def test_a_zip_file_as_it_was_published(name, run_tool, tmp_path):
    torch.save(without(), tmp_path / 'source.pth')
    with zipfile.ZipFile(tmp_path / 'source.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / 'source.pth', name)
    for source in ('source.pth', 'source.zip'):
        result = run_tool('model_converters/convert', source, f'{source}.converted.pth')
        assert result.status == 0, result.err
    one, other = (
        torch.load(tmp_path / f'{source}.converted.pth')['state_dict']
        for source in ('source.pth', 'source.zip')
    )
    assert all(torch.equal(one[key], other[key]) for key in {*one, *other})
    with zipfile.ZipFile(tmp_path / 'source.zip', 'a') as archive:
        archive.writestr('second.pth', b'')
    sentence = run_tool('model_converters/convert', 'source.zip', 'target.pth').sentence
    assert 'source.zip contains 2 .pth files' in sentence
    with zipfile.ZipFile(tmp_path / 'source.zip', 'w') as archive:
        archive.writestr(name, b'text')
    sentence = run_tool('model_converters/convert', 'source.zip', 'target.pth').sentence
    assert f'source.zip/{name} ' in sentence


def test_tool(run_tool, tmp_path):
    torch.save(without(), tmp_path / 'source.pth')
    result = run_tool('model_converters/convert', 'source.pth', 'target.pth')
    assert result.status == 0, result.err
    assert 'PyTorch-Encoding: EncNet' in result.out
    assert 'wrote target.pth' in result.out
    assert len(result.out.splitlines()) < 10
    verbose = run_tool('model_converters/convert', 'source.pth', 'target.pth', '--verbose')
    assert 'head.encmodule.fc.0 (weight, bias) -> decode_head.enc_module.fc.0' in verbose.out
    torch.save(without('head.encmodule.fc.'), tmp_path / 'source.pth')
    sentence = run_tool('model_converters/convert', 'source.pth', 'other.pth').sentence
    assert 'head.encmodule.fc.0.weight' in sentence
    assert not (tmp_path / 'other.pth').exists()
