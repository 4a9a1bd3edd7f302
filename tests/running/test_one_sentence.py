"""Places that cannot be written, shared memory, selected feature maps and encodings."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_setup import MSRC21, ROOT, option_strings
from torch.utils.data import DataLoader, Dataset

from mmseg_encnet.disk import check_file, check_folder, explain_os_error
from mmseg_encnet.errors import UserError
from mmseg_encnet.plain_json import MAX_DEPTH, JSONError, parse_json
from mmseg_encnet.running.explain import explain
from mmseg_encnet.running.shared_memory import guard_workers

# A file, a path below one, a folder that even root cannot write to, and a name of 300 characters.
PLACES = ('in_the_way', 'in_the_way/below', '/sys/mmseg_encnet', 'x' * 300)


@pytest.mark.parametrize('place', PLACES)
def test_place_that_cannot_be_written(place, run_tool, tiny_data, tiny_options, tmp_path):
    Path(tmp_path, 'in_the_way').write_text('x')
    weights = tmp_path / 'work' / 'iter_2.pth'
    if place == PLACES[0]:
        assert run_tool('train', MSRC21, '--work-dir', 'work', options=tiny_options).status == 0
        test = ('test', MSRC21, weights, '--work-dir', 'other')
        commands = [
            (*test, '--out', place),
            (*test, '--show-dir', place),
            ('infer', MSRC21, weights, tiny_data / 'images/val', '--out-dir', place),
        ]
        for command in commands:
            assert 'choose another path' in run_tool(*command, options=tiny_options).sentence
    for command, options in (
        (('train', MSRC21, '--work-dir', place), tiny_options),
        (('analysis_tools/dataset_stats', MSRC21, '--out', place), tiny_options),
        (('demo', '--work-dir', place), None),
        (('finetune', tiny_data, '--out-dir', place), None),
    ):
        sentence = run_tool(*command, options=options).sentence
        assert place[:9] in sentence and len(sentence) < 300 + len(str(tmp_path)), sentence


NUMBERS = {
    errno.EROFS: 'another file system',
    errno.EACCES: 'change its permissions',
    errno.ENOSPC: 'free space',
    errno.ENOTDIR: 'a folder is expected',
    errno.EISDIR: 'a file is expected',
    errno.ENAMETOOLONG: 'shorten it',
    errno.EMFILE: 'ulimit -n',
    errno.EIO: 'check its disk',
}


@pytest.mark.parametrize('number', NUMBERS)
def test_error_of_the_operating_system(number):
    sentence = explain(OSError(number, os.strerror(number), '/somewhere/file'))
    assert sentence.startswith('/somewhere/file ') and NUMBERS[number] in sentence


def test_checks_create_nothing(tmp_path):
    check_folder(tmp_path / 'a' / 'b')
    check_file(tmp_path / 'a' / 'b.txt')
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match='is a folder where a file is expected'):
        check_file(tmp_path)


def test_a_file_of_the_user_in_memory_is_no_shared_memory():
    error = OSError(errno.ENOSPC, 'No space left on device', '/dev/shm/work/iter_2.pth')
    assert explain_os_error(error).startswith('/dev/shm/work/iter_2.pth cannot be written')


def test_shared_memory_is_named():
    for error in (
        OSError(errno.ENOSPC, 'No space left on device', '/dev/shm/torch_1'),
        RuntimeError(
            'unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on '
            'device (28)'
        ),
        RuntimeError(
            'unable to open shared memory object </torch_1_2_3> in read-write mode: Read-only file '
            'system (30)'
        ),
    ):
        sentence = explain(error)
        assert sentence.startswith('shared memory (/dev/shm)') and 'num_workers=0' in sentence


class Unsendable(Dataset):
    """A data set whose second sample cannot be sent to another process."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> object:
        return torch.zeros(2) if index == 0 else Refuses()


class Refuses:
    def __reduce__(self):
        raise OSError(errno.ENOSPC, 'No space left on device', '/dev/shm/torch_1')


def test_batch_that_cannot_be_sent_ends_the_run():
    """Without the guard, the loader would wait for the dropped batch until its time-out."""
    loader = DataLoader(Unsendable(), batch_size=None, num_workers=1, timeout=60)
    guard_workers(loader)
    batches = iter(loader)
    next(batches)
    with pytest.raises(UserError) as raised:
        next(batches)
    assert explain(raised.value).startswith('shared memory (/dev/shm)')


def test_loader_without_semaphores(monkeypatch):
    def refuse() -> None:
        raise OSError(errno.EROFS, 'Read-only file system', '/dev/shm/sem.mp-a1b2')

    monkeypatch.setattr('multiprocessing.Lock', refuse)
    with pytest.raises(UserError, match=r'shared memory .*Read-only file system'):
        guard_workers(DataLoader([1], num_workers=1))
    guard_workers(DataLoader([1], num_workers=0))


INDICES = {
    'model.decode_head.in_index': ('[0,1,9]', '[-5,1,2]', '[0,1,a]', '[0,1]', '[1.5,1,2]', '[]', 9),
    'model.auxiliary_head.in_index': (9, -5, 'a', '[0,1]', 1.5),
    'model.backbone.out_indices': ('[0,1]',),
    'model.decode_head.in_channels': ('[1,2,3]', '[16,32]'),
    'train_cfg.val_interval': (0, -1, 'a', 1.5, '1e400'),
    'train_cfg.val_begin': ('a',),
    'default_hooks.checkpoint.interval': ('a',),
}


@pytest.mark.parametrize('key', INDICES)
def test_impossible_option(key, run_tool, tiny_options):
    for value in INDICES[key]:
        options = {**tiny_options, key: value}
        sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=options).sentence
        assert key.rpartition('.')[2] in sentence or 'in_index' in sentence, sentence


@pytest.mark.parametrize('index', ['[0,1,9]', '[0,1,a]'])
def test_impossible_index_without_training(index, run_tool, tiny_data, tiny_options, tmp_path):
    assert run_tool('train', MSRC21, '--work-dir', 'work', options=tiny_options).status == 0
    options = {**tiny_options, 'model.decode_head.in_index': index}
    for tool, *extra in (
        ('test', '--work-dir', 'work'),
        ('infer', tiny_data / 'images/val'),
        ('model_converters/export_onnx', 'out.onnx'),
    ):
        result = run_tool(tool, MSRC21, tmp_path / 'work/iter_2.pth', *extra, options=options)
        assert 'model.decode_head.in_index' in result.sentence


def test_validation_after_every_iteration(run_tool, tiny_options):
    options = {**tiny_options, 'train_cfg.val_interval': 1, 'default_hooks.logger.interval': 50}
    assert run_tool('train', MSRC21, '--work-dir', 'work', options=options).status == 0
    result = run_tool('analysis_tools/report', 'work', '--no-evaluation')
    assert result.status in (0, 2) and 'Traceback' not in result.err


@pytest.mark.parametrize(
    'text',
    [
        '[' * 200_000,
        '[' * 900 + ']' * 900,
        '{"a":' * 100 + '1' + '}' * 100,
        '"\\ud800"',
        '1' * 5000,
    ],
)
def test_json_that_is_refused(text):
    with pytest.raises(JSONError) as raised:
        parse_json(text)
    assert '\n' not in str(raised.value) and len(str(raised.value)) < 250


def test_json_that_is_read():
    text = '[' * MAX_DEPTH + '"\\ud83d\\ude00"' + ']' * MAX_DEPTH
    assert np.ravel(np.array(parse_json(text), object)).tolist() == ['\U0001f600']


COMMANDS = {
    'train into a file': ('train', MSRC21, '--work-dir', __file__),
    'missing weights': ('infer', MSRC21, 'wörk.pth', 'bücher.jpg'),
}


@pytest.mark.parametrize('name', COMMANDS)
def test_process_in_an_environment_without_utf8(name, environment, tmp_path, tiny_options):
    """The tool prints one line and no traceback, in an encoding that lacks most characters."""
    tool, *arguments = COMMANDS[name]
    environment.update(LC_ALL='POSIX', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    command = [
        environment['PYTHON'], ROOT / 'tools' / f'{tool}.py', *arguments,
        '--cfg-options', *option_strings(tiny_options),
    ]  # fmt: skip
    ended = subprocess.run(
        [os.fsencode(str(part)) for part in command],
        capture_output=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    errors = [line for line in ended.stderr.splitlines() if line.startswith(b'error: ')]
    assert ended.returncode == 2 and len(errors) == 1, ended.stderr
    assert b'Traceback' not in ended.stderr + ended.stdout
    if name == 'missing weights':
        assert 'bücher.jpg'.encode() in errors[0]


def test_characters_that_the_environment_lacks():
    with pytest.raises(UnicodeEncodeError) as raised:
        'Straße'.encode('ascii')
    assert 'PYTHONUTF8=1' in explain(raised.value)
    with pytest.raises(UnicodeEncodeError) as raised:
        os.fsdecode(b'caf\xe9').encode()
    assert 'rename the file' in explain(raised.value)


def test_semaphores_have_no_file_name():
    try:
        raise OSError(errno.EROFS, 'Read-only file system')
    except OSError as error:
        assert explain_os_error(error).startswith('a file cannot be written')
