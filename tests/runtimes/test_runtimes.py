"""Every runtime and precision predicts what the layers predict, for images, windows and views."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21, SHRUNK

from mmseg_encnet import predicting
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.runtimes import PRECISIONS, RUNTIMES
from mmseg_encnet.configuration.switches import computes_in_bfloat16
from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import onnx
from mmseg_encnet.models import PublishedTTAModel
from mmseg_encnet.models.segmentors.context import compute
from mmseg_encnet.runtimes import cache, choose_runtime, pytorch

pytest.importorskip('openvino')

SUPPORTED = [
    (runtime, precision)
    for runtime in RUNTIMES
    for precision in PRECISIONS
    if (runtime, precision) != ('onnxruntime', 'bfloat16')
]
SLIDE = {
    'model.test_cfg.mode': 'slide',
    'model.test_cfg.crop_size': (48, 48),
    'model.test_cfg.stride': (32, 32),
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 75, 3), np.uint8)


def tiny(options: dict | None = None) -> Config:
    return load_config(str(MSRC21), dict(SHRUNK, **(options or {})))


def skip_without(runtime: str, precision: str) -> None:
    if precision == 'bfloat16' and not computes_in_bfloat16():
        pytest.skip('the CPU has no bfloat16')


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> tuple[Path, Path]:
    """Return a checkpoint with random norm statistics, and the file that is exported for it."""
    from toolbox_state import clear_toolbox_state

    clear_toolbox_state()
    torch.manual_seed(0)
    model = MODELS.build(tiny().model)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(model.state_dict(), path)
    load(path, 'onnxruntime', 'float32')
    (file,) = path.parent.glob('tiny.*.onnx')
    return path, file


@pytest.fixture
def checkpoint(exported) -> Path:
    return exported[0]


@pytest.fixture
def no_export(monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError('exported again')

    monkeypatch.setattr(onnx, 'write', refuse)


def load(checkpoint: Path, runtime: str, precision: str, options: dict | None = None):
    return predicting.load_segmentor(
        tiny(options), str(checkpoint), 'cpu', runtime=runtime, precision=precision
    )


def plain(checkpoint: Path, options: dict | None = None) -> predicting.Segmentor:
    segmentor = load(checkpoint, 'torch', 'float32', options)
    segmentor.model.network = None
    return segmentor


def close(found: torch.Tensor, expected: torch.Tensor, precision: str) -> bool:
    tolerance = 1e-4 if precision == 'float32' else 5e-2
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize('mode', [{}, SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize(('runtime', 'precision'), SUPPORTED)
def test_predicts_what_the_layers_predict(checkpoint, runtime, precision, mode):
    skip_without(runtime, precision)
    expected = plain(checkpoint, mode).predict(IMAGE, context_maps=True, seg_logits=True)
    segmentor = load(checkpoint, runtime, precision, mode)
    found = segmentor.predict(IMAGE, context_maps=True, seg_logits=True)
    assert close(found.seg_logits.data, expected.seg_logits.data, precision)
    same = (found.pred_sem_seg.data == expected.pred_sem_seg.data).float().mean()
    assert same > (0.999 if precision == 'float32' else 0.95)
    assert close(found.presence, expected.presence, precision)
    assert close(found.gate, expected.gate, precision)
    assert close(found.assignments.data, expected.assignments.data, precision)
    assert found.gated_features.data.shape == expected.gated_features.data.shape
    if precision == 'float32':
        assert torch.equal(found.gated_channels, expected.gated_channels)
    # Labels alone are those of the scores.
    labels = segmentor.predict(IMAGE).pred_sem_seg.data
    assert torch.equal(labels, found.pred_sem_seg.data)


@pytest.mark.parametrize(('runtime', 'precision'), SUPPORTED)
def test_batches_small_images_and_views(checkpoint, runtime, precision):
    skip_without(runtime, precision)
    model = load(checkpoint, runtime, precision, SLIDE).model
    generator = torch.Generator().manual_seed(0)
    for size in ((3, 3, 40, 56), (2, 3, 20, 70), (1, 3, 33, 33)):
        images = torch.randn(size, generator=generator)
        with torch.no_grad():
            found, expected = model.network(images, [0]), compute(model, images, [0])
        assert found.logits.dtype == torch.float32
        assert close(found.logits, expected.logits, precision)
        assert len(found.features) == len(found.assignments) == 1
        assert close(found.features, expected.features, precision)
    evaluation = PublishedTTAModel(model, base_size=64, scales=(1.0,))
    image = torch.randn(1, 3, 60, 75, generator=generator)
    with torch.no_grad():
        scores, context = evaluation.score_with_context(image)
        model.network = None
        expected_scores, expected_context = evaluation.score_with_context(image)
    assert close(scores.log(), expected_scores.log(), precision)
    assert close(context['presence'], expected_context['presence'], precision)


def test_exported_file_is_used_again(exported, no_export):
    checkpoint, file = exported
    content = file.read_bytes()
    for runtime in ('onnxruntime', 'openvino'):
        # Windows and suppression are not part of the file.
        load(checkpoint, runtime, 'float32', {'model.test_cfg.presence_threshold': 0.1})

    # Damaged, or of another network.
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AssertionError, match='exported again'):
        load(checkpoint, 'onnxruntime', 'float32')
    file.write_bytes(content)
    for options in (
        {'model.decode_head.encoder': dict(backend='dense')},
        {'model.decode_head.gate': 'scale'},
    ):
        with pytest.raises(AssertionError, match='exported again'):
            load(checkpoint, 'onnxruntime', 'float32', options)
    state = torch.load(checkpoint)
    state['decode_head.conv_seg.bias'] += 1
    other = checkpoint.with_name('other.pth')
    torch.save(state, other)
    with pytest.raises(AssertionError, match='exported again'):
        load(other, 'onnxruntime', 'float32')


def test_a_folder_that_is_not_writable(exported, monkeypatch, tmp_path):
    checkpoint, file = exported
    content = file.read_bytes()

    def write(model, path, description, size) -> None:
        path.write_bytes(content)

    def write_elsewhere(path: Path, data: bytes) -> None:
        if not any(path.is_relative_to(folder) for folder in writable):
            raise PermissionError(13, 'Permission denied', str(path))
        write_whole(path, data)

    write_whole, writable = cache.write_whole, [tmp_path / 'cache']
    monkeypatch.setattr(onnx, 'write', write)
    monkeypatch.setattr(cache, 'write_whole', write_elsewhere)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    copied = tmp_path / 'copied.pth'
    copied.write_bytes(checkpoint.read_bytes())
    load(copied, 'onnxruntime', 'float32')
    assert not list(tmp_path.glob('*.onnx'))
    (kept,) = (tmp_path / 'cache' / 'mmseg_encnet' / 'exported').iterdir()
    assert kept.name.startswith('copied.')
    # Nor is that one.
    writable.clear()
    kept.unlink()
    load(copied, 'onnxruntime', 'float32').predict(IMAGE)


@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime'])
def test_the_model_keeps_its_weights_and_can_be_trained(checkpoint, runtime, monkeypatch):
    segmentor = load(checkpoint, runtime, 'float32')
    model = segmentor.model
    before = segmentor.predict(IMAGE, seg_logits=True).seg_logits.data
    state = torch.load(checkpoint)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    copied = copy.deepcopy(model)
    assert copied.network.segmentor is copied
    if runtime == 'torch':
        with torch.no_grad():
            model.decode_head.conv_seg.bias[3] += 1000
        assert (segmentor.predict(IMAGE).pred_sem_seg.data == 3).all()
        # Not those of the copy.
        copied = copied.test_step(dict(inputs=[torch.zeros(3, 60, 75)], data_samples=None))
        assert not (copied[0].pred_sem_seg.data == 3).all()
    assert before.isfinite().all()


def test_convolutions_after_their_norm_are_not_folded(checkpoint):
    model = plain(checkpoint).model
    model.backbone.conv1 = torch.nn.Sequential()
    first = torch.nn.Module()
    first.conv, first.norm = torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.BatchNorm2d(3)
    first.norm.running_mean.fill_(1)
    first.forward = lambda x: first.conv(first.norm(x))
    model.backbone.stem = first.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = compute(model, image), pytorch.TorchNetwork(model, 'float32')(image)
    assert close(found.logits, expected.logits, 'float32')


REFUSED = {
    'no provider': (
        ['--runtime', 'onnxruntime', '--device', 'cuda:0'],
        'no CUDAExecutionProvider',
    ),
    'no convolutions': (
        ['--runtime', 'onnxruntime', '--precision', 'bfloat16'],
        'computes convolutions in float32 only; use --precision float32',
    ),
    'no GPU': (['--runtime', 'openvino', '--device', 'cuda:0'], 'use --device cpu'),
    'unknown device': (['--device', 'gpu'], "unknown device 'gpu'; choose e.g. cpu or cuda:0."),
    'missing GPU': (['--device', 'cuda:99'], 'on cuda:99, but PyTorch finds '),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refuses_what_a_runtime_cannot_do(case, run_tool, checkpoint, tiny_options, tmp_path):
    options, reason = REFUSED[case]
    Image.fromarray(IMAGE).save(tmp_path / 'a.png')
    result = run_tool('infer', MSRC21, checkpoint, 'a.png', *options, options=tiny_options)
    assert reason in result.sentence


@pytest.mark.parametrize('module', ['onnxruntime', 'onnx', 'openvino'])
def test_names_the_extra_of_a_missing_package(module, monkeypatch):
    runtime = 'openvino' if module == 'openvino' else 'onnxruntime'
    monkeypatch.setitem(sys.modules, module, None)
    extra = 'openvino' if module == 'openvino' else 'onnx'
    with pytest.raises(UserError, match=rf'{module} is not installed.*encnet\[{extra}\]'):
        choose_runtime(runtime)


def test_bfloat16_without_instructions_for_it(monkeypatch):
    monkeypatch.setattr(pytorch, 'computes_in_bfloat16', lambda: False)
    with pytest.warns(UserWarning, match='bfloat16 is slow on this CPU'):
        choose_runtime('torch', 'bfloat16', 'cpu')


def test_other_segmentors_predict_with_torch_only(checkpoint):
    options = {'model.type': 'EncoderDecoder'}
    load(checkpoint, 'torch', 'float32', options).predict(IMAGE)
    with pytest.raises(UserError, match=r'set model\.type=ContextEncoderDecoder'):
        load(checkpoint, 'onnxruntime', 'float32', options)


@pytest.mark.parametrize('runtime', ['torch', 'openvino'])
def test_tools_take_a_runtime(runtime, run_tool, checkpoint, tiny_options, tiny_data, tmp_path):
    arguments = [MSRC21, checkpoint, '--runtime', runtime]
    Image.fromarray(IMAGE).save(tmp_path / 'a.png')
    labelled = run_tool('infer', *arguments, 'a.png', '--sheets', options=tiny_options)
    assert labelled.status == 0, labelled.err
    assert '1 of 1 images written' in labelled.out
    evaluated = run_tool('test', *arguments, options=tiny_options)
    assert evaluated.status == 0, evaluated.err
    assert 'mIoU' in evaluated.out


@pytest.mark.parametrize('shape', [(4, 8, 3, 3), (6, 1, 5, 5), (3, 200, 1, 1), (2, 5)])
def test_errors_of_rounded_weights_cancel(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.2
    found = pytorch.rounded(weight)
    assert found.shape == weight.shape
    assert torch.equal(found.bfloat16().float(), found)
    assert ((found - weight).abs() <= 2**-7 * weight.abs().amax()).all()

    def shift(values: torch.Tensor) -> float:
        return float((values - weight).flatten(1).sum(1).abs().max())

    assert shift(found) < 0.5 * max(shift(weight.bfloat16().float()), 2**-7)


FREED_IN_ORDER = """
import gc, signal, subprocess, sys
from pathlib import Path
from mmseg_encnet.runtimes.openvino import load

content = Path(sys.argv[1]).read_bytes()
networks = [load(content, ['logits'], 'float32') for _ in range(2)]
while networks:
    del networks[0]
    gc.collect()
signal.signal(signal.SIGCHLD, lambda *_: print('handled'))
subprocess.run([sys.executable, '-c', ''])
"""


@pytest.mark.skipif(sys.platform == 'win32', reason='signals')
def test_signals_are_handled_after_openvino_networks_are_freed(exported):
    """OpenVINO puts back the stack of signal handlers that it replaced, which must still exist."""
    command = [sys.executable, '-W', 'ignore', '-X', 'faulthandler', '-c', FREED_IN_ORDER]
    ended = subprocess.run([*command, exported[1]], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith('handled\n')
