"""The folded, compiled and exported EncNet is equivalent to the plain one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import (
    FoldedEncNet,
    compare_with_pytorch,
    export,
    formats,
    program,
    read_description,
)

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


FILES = ['encnet.onnx', 'encnet.xml', 'encnet.pt2', 'encnet.torchscript']


@pytest.mark.parametrize('file', FILES)
def test_exports_agree_with_pytorch_and_describe_themselves(file, tmp_path):
    if file.endswith(('.onnx', '.xml')):
        pytest.importorskip('onnxscript')
    if file.endswith('.xml'):
        pytest.importorskip('openvino')
    model = FoldedEncNet(small_encnet(add_lateral=True), gate=True)
    classes = [f'class {index}' for index in range(NUM_CLASSES)]
    results = []
    palette = [[1, 2, 3]] * NUM_CLASSES
    resize = dict(scale=[520, 520], keep_ratio=True)
    written = export(
        model, tmp_path / file, classes, palette, resize=resize, progress=results.append
    )
    assert written
    companion = {'encnet.bin'} if file.endswith('.xml') else set()
    assert {path.name for path in tmp_path.iterdir()} == {file} | companion
    assert len({result.size for result in results}) == 5
    assert all(result.same_labels > 0.999 for result in results)

    entries = read_description(tmp_path / file)
    assert entries['classes'] == classes
    assert entries['palette'] == palette
    assert entries['colour_order'] == 'RGB'
    assert entries['layout'] == 'NCHW'
    assert entries['range'] == [0, 255]
    assert entries['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert entries['std'] == pytest.approx([58.395, 57.12, 57.375])
    assert entries['inputs'] == ['image']
    assert entries['outputs'] == ['scores', 'presence', 'gate']
    assert {'image', *entries['outputs']} <= entries.keys()
    assert entries['resize'] == resize
    smallest = entries['sizes']['smallest']
    (result,) = compare_with_pytorch(model, tmp_path / file, [tuple(smallest)])
    assert result.difference < 1e-4


@pytest.mark.parametrize(
    'build',
    [lambda: small_encnet(use_se_loss=False), small_jpu],
    ids=['no SE', 'JPU'],
)
def test_onnx_without_a_branch_or_with_a_neck(build, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    model = FoldedEncNet(build())
    path = tmp_path / 'encnet.onnx'
    assert export(model, path)
    session = runtime.InferenceSession(path)
    assert [output.name for output in session.get_outputs()] == list(model.output_names)
    described = session.get_modelmeta().custom_metadata_map
    assert ('presence' in described) == model.decode_head.use_se_loss
    assert json.loads(described['gate']).startswith('folded')


# What TensorRT 10's parser of ONNX supports.
# fmt: off
TENSORRT = {
    'Add', 'BatchNormalization', 'Cast', 'Clip', 'Concat', 'Constant', 'ConstantOfShape', 'Conv',
    'Div', 'Equal', 'Exp', 'Expand', 'Flatten', 'Floor', 'Gather', 'Gemm', 'GlobalAveragePool',
    'Identity', 'MatMul', 'MaxPool', 'Mul', 'Pow', 'Range', 'ReduceMean', 'ReduceSum', 'Relu',
    'Reshape', 'Resize', 'Shape', 'Sigmoid', 'Slice', 'Softmax', 'Split', 'Sqrt', 'Squeeze',
    'Sub', 'Tanh', 'Transpose', 'Unsqueeze', 'Where',
}
# fmt: on


def test_onnx_of_one_size_has_what_tensorrt_needs(tmp_path):
    onnx = pytest.importorskip('onnx')
    model = FoldedEncNet(small_encnet(add_lateral=True))
    path = tmp_path / 'encnet.onnx'
    assert export(model, path, size=(64, 96))
    assert read_description(path)['sizes'] == dict(fixed=[64, 96])
    content = onnx.load(path)
    onnx.checker.check_model(content)
    (image,) = content.graph.input
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim] == [1, 3, 64, 96]
    assert [(entry.domain, entry.version <= 20) for entry in content.opset_import] == [('', True)]
    assert {node.op_type for node in content.graph.node} <= TENSORRT


def test_swin_exports_for_one_size(tmp_path):
    pytest.importorskip('onnxscript')
    cfg = Config.fromfile(ROOT / 'configs/encnet_swin-t_ade20k.py').model
    cfg.backbone.update(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2)
    cfg.neck.update(in_channels=(16, 32, 64), mid_channels=8)
    cfg.decode_head.update(in_channels=[16, 32, 32], channels=16, num_codes=4)
    cfg.auxiliary_head.in_channels = 32
    model = FoldedEncNet(MODELS.build(cfg).eval())
    assert export(model, tmp_path / 'swin.pt2', size=(64, 96))


@pytest.mark.parametrize(
    'out, options, words',
    [
        ('model.h5', (), ["the suffix '.h5'", '.onnx, .xml, .pt2, .torchscript']),
        ('model.engine', (), ['TensorRT', 'trtexec --onnx=FILE.onnx --saveEngine=FILE.engine']),
        ('model.bin', ('--format', 'openvino'), ['ends in .xml']),
        ('model.onnx', ('--size', '16', '64'), ['--size 16 64', 'at least 32']),
    ],
)
def test_wrong_files_and_sizes_are_refused(out, options, words, run_tool, tmp_path):
    tool = 'model_converters/export'
    sentence = run_tool(tool, 'encnet_r18_msrc21', 'none.pth', out, *options).sentence
    assert all(word in sentence for word in words), sentence
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    path = tmp_path / 'encnet.pt2'
    path.write_bytes(b'before')
    model = FoldedEncNet(small_encnet())
    run = program.run
    monkeypatch.setitem(
        formats.FORMATS,
        'torch',
        replace(
            formats.FORMATS['torch'],
            run=lambda path: lambda image: [1.01 * output for output in run(path)(image)],
        ),
    )
    assert not export(model, path, size=(64, 64))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b'before'


@pytest.mark.parametrize('suffix', ['.onnx', '.xml', '.pt2', '.torchscript'])
def test_files_without_a_description(suffix, tmp_path):
    path = tmp_path / f'model{suffix}'
    with pytest.raises(UserError, match='does not exist'):
        read_description(path)
    path.write_bytes(b'\x00nothing')
    with pytest.raises(UserError, match=r'damaged or not|contains no description'):
        read_description(path)
    if suffix in ('.pt2', '.torchscript'):
        torch.save({}, path)
        with pytest.raises(UserError, match='contains no description'):
            read_description(path)


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
        export(model, tmp_path / 'encnet.onnx')
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
    assert export(FoldedEncNet(model.eval()), tmp_path / 'encnet.onnx')
