"""The folded, compiled and exported EncNet is equivalent to the plain one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import FoldedEncNet, onnx

ROOT = Path(__file__).parents[2]
NUM_CLASSES = 5
SMALL = dict(
    backbone=dict(base_channels=8, stem_channels=8),
    decode_head=dict(in_channels=[16, 32, 64], channels=16, num_codes=8, num_classes=NUM_CLASSES),
    auxiliary_head=dict(in_channels=32, num_classes=NUM_CLASSES),
    test_cfg=dict(_delete_=True, mode='whole'),
)


def small_encnet(base='encnet_r18', **head):
    """Return a small EncNet with random norm statistics; initial ones would hide folding errors."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models' / f'{base}.py')
    cfg.merge_from_dict(dict(model=SMALL))
    cfg.merge_from_dict(dict(model=dict(decode_head=head)))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def pictures(height, width, batch=2):
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def relative_difference(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    'head',
    [
        dict(add_lateral=False),
        dict(add_lateral=True),
        dict(use_se_loss=False),
        dict(align_corners=False),
        dict(reduction='sum', gate='scale'),
    ],
    ids=str,
)
@torch.no_grad()
def test_folded_equals_plain(head):
    model = small_encnet(**head)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    image = pictures(70, 90)
    preprocessor = model.data_preprocessor
    samples = model.predict((image - preprocessor.mean) / preprocessor.std)

    outputs = FoldedEncNet(model)(image)

    expected = torch.stack([sample.seg_logits.data for sample in samples])
    assert relative_difference(outputs[0], expected) < 1e-4
    assert len(outputs) == 1 + model.decode_head.use_se_loss
    if model.decode_head.use_se_loss:
        presence = torch.stack([sample.presence for sample in samples])
        assert relative_difference(outputs[1], presence) < 1e-4
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_only_an_encoding_head_on_relu_features_folds():
    with pytest.raises(UserError, match='decode_head must be an EncodingHead, got AuxFCNHead'):
        model = small_encnet()
        model.decode_head = model.auxiliary_head
        FoldedEncNet(model)
    with pytest.raises(UserError, match='GELU'):
        FoldedEncNet(small_encnet(act_cfg=dict(type='GELU')))


@pytest.mark.parametrize('lateral', [False, True])
def test_compiles_without_graph_break_and_trains(lateral):
    model = small_encnet(add_lateral=lateral, dropout_ratio=0)
    image = pictures(64, 64) / 255

    def outputs_and_gradients(network):
        model.zero_grad()
        outputs = network(image)
        sum(output.square().mean() for output in outputs).backward()
        return outputs, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected = outputs_and_gradients(model)
    found = outputs_and_gradients(torch.compile(model, fullgraph=True, backend='aot_eager'))
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]]):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('lateral', [False, True])
@torch.no_grad()
def test_head_exports_with_dynamic_size(lateral):
    head = small_encnet(add_lateral=lateral).decode_head
    height, width = torch.export.Dim('height', min=2), torch.export.Dim('width', min=2)

    def features(h, w):
        return [torch.rand(2, channels, h, w) for channels in (8, 16, 32, 64)]

    program = torch.export.export(
        head, (features(8, 12),), dynamic_shapes=([{2: height, 3: width}] * 4,)
    )
    inputs = features(5, 7)
    for found, expected in zip(program.module()(inputs), head(inputs)):
        torch.testing.assert_close(found, expected)


def small_jpu():
    """Return a small FastFCN with EncNet."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/encnet_r50_jpu.py')
    backbone = dict(depth=18, base_channels=8, stem_channels=8)
    neck = dict(in_channels=(16, 32, 64), mid_channels=8)
    cfg.merge_from_dict(dict(model=dict(SMALL, backbone=backbone, neck=neck)))
    cfg.model.decode_head.in_channels = [16, 32, 32]
    return MODELS.build(cfg.model).eval()


@pytest.mark.parametrize(
    'build',
    [
        lambda: small_encnet(add_lateral=True),
        lambda: small_encnet(use_se_loss=False),
        small_jpu,
    ],
    ids=['lateral', 'no SE', 'JPU'],
)
def test_onnx_agrees_with_pytorch_on_every_size(build, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    model = FoldedEncNet(build())
    classes = [f'class {index}' for index in range(NUM_CLASSES)]
    onnx.export_onnx(model, tmp_path / 'encnet.onnx', classes, [[1, 2, 3]] * NUM_CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ['encnet.onnx']
    described = runtime.InferenceSession(tmp_path / 'encnet.onnx').get_modelmeta()
    entries = {key: json.loads(value) for key, value in described.custom_metadata_map.items()}
    assert entries['classes'] == classes
    assert entries['palette'] == [[1, 2, 3]] * NUM_CLASSES
    assert entries['colour_order'] == 'RGB'
    assert entries['range'] == [0, 255]
    assert entries['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert entries['std'] == pytest.approx([58.395, 57.12, 57.375])
    assert ('presence' in entries) == model.decode_head.use_se_loss
    assert {'image', 'scores'} <= entries.keys()
    for result in onnx.compare_with_pytorch(
        model, tmp_path / 'encnet.onnx', [(32, 32), (65, 97), (128, 64)]
    ):
        assert result.difference < 1e-4
        assert result.same_labels > 0.999


@pytest.mark.parametrize(
    'config, reason',
    [
        ('encnet_swin-t_ade20k', 'SwinTransformer'),
        ('encnet_mit-b0_ade20k', 'MixVisionTransformer'),
        ('fcn_r18_msrc21', 'FCNHead'),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(config, reason, run_tool, tmp_path):
    tool = 'model_converters/export_onnx'
    sentence = run_tool(tool, config, 'none.pth', 'out/encnet.onnx').sentence
    assert reason in sentence
    assert not (tmp_path / 'out').exists()


def test_a_failed_export_leaves_no_file(tmp_path, monkeypatch):
    pytest.importorskip('onnxscript')
    model = FoldedEncNet(small_encnet())
    size = lambda module, args: (args[0][..., : int(args[0].shape[2])],)  # noqa: E731
    model.backbone.register_forward_pre_hook(size)
    with pytest.raises(UserError, match='cannot be exported for images of any size'):
        onnx.export_onnx(model, tmp_path / 'encnet.onnx')
    assert not list(tmp_path.iterdir())


def test_efficientnet_lite_exports(tmp_path):
    pytest.importorskip('onnxruntime')
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/encnet_lite0.py').model
    # Each stride nests the expressions of the output size, which slows the export.
    cfg.backbone.output_stride = 8
    cfg.decode_head.update(channels=16, num_codes=8, num_classes=NUM_CLASSES, add_lateral=False)
    cfg.auxiliary_head.num_classes = NUM_CLASSES
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    # One block of each kind exports like several; only stage 1 keeps a block with a shortcut.
    for index, stage in enumerate(model.backbone.stages):
        if index != 1:
            model.backbone.stages[index] = nn.Sequential(*(b for b in stage if not b.shortcut))
    onnx.export_onnx(folded := FoldedEncNet(model.eval()), tmp_path / 'encnet.onnx')
    (result,) = onnx.compare_with_pytorch(folded, tmp_path / 'encnet.onnx', [(65, 98)])
    assert result.difference < 1e-4


def test_export_tool(tmp_path):
    pytest.importorskip('onnxruntime')
    config = tmp_path / 'small.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/encnet_r18_msrc21.py")!r}\nmodel = {SMALL!r}\n'
        'model["decode_head"]["num_classes"] = model["auxiliary_head"]["num_classes"] = 21\n'
    )
    checkpoint = tmp_path / 'small.pth'
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    out = tmp_path / 'out' / 'encnet.onnx'
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/model_converters/export_onnx.py', config, checkpoint, out],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert result.returncode == 0, result.stderr
    assert 'agrees with PyTorch' in result.stdout
    assert out.stat().st_size > 10_000
