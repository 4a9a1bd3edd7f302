"""Names from files in messages: they cannot forge lines or control the terminal."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21
from torch._utils import ExceptionWrapper

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.checked import too_dark
from mmseg_encnet.errors import UserError, about, printable
from mmseg_encnet.running.explain import explain
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.workbench.converters.archives import byte_bar
from mmseg_encnet.workbench.formatting import markdown_table

# A line break and a message, a title for the window, a colour, text from right to left, and bytes
# that are not UTF-8.
HOSTILE = 'a\nerror: all is well\r\x1b]0;owned\x07\x1b[31m\x9b1m\u202egnp\u2028\udcff.png'
SHOWN = r'a\nerror: all is well\r\x1b]0;owned\x07\x1b[31m\x9b1m\u202egnp\u2028\udcff.png'


def test_printable():
    assert printable(HOSTILE) == SHOWN == printable(SHOWN)
    assert printable('Bäume — 木 \\n') == 'Bäume — 木 \\n'
    assert printable(Path('x\ny')) == 'x\\ny'
    assert printable('a\n\tb\x1b', keep='\n\t') == 'a\n\tb\\x1b'


def test_errors():
    error = UserError(f'image file {HOSTILE} is missing.')
    expected = f'image file {SHOWN} is missing.'
    assert str(error) == explain(error) == expected
    assert str(pickle.loads(pickle.dumps(error))) == expected
    with pytest.raises(UserError) as raised, about(f'config {HOSTILE}'):
        raise error
    assert str(raised.value) == f'config {SHOWN} {expected}'
    assert explain(OSError(28, 'No space left on device', f'/{HOSTILE}')).startswith(f'/{SHOWN} ')


def test_errors_of_workers():
    """The traceback of a worker keeps its lines, and its sentence is escaped."""
    try:
        raise UserError(f'image file {HOSTILE}\nerrors.UserError: forged')
    except UserError:
        wrapped = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(UserError) as raised:
        wrapped.reraise()
    assert explain(raised.value) == rf'image file {SHOWN}\nerrors.UserError: forged'
    assert 'Traceback (most recent call last):\n' in str(raised.value)


def test_a_folder_with_a_hostile_name(run_tool, tiny_options, tmp_path):
    torch.save(
        MODELS.build(load_config(str(MSRC21), tiny_options).model).state_dict(),
        tmp_path / 'tiny.pth',
    )
    folder = tmp_path / 'in'
    folder.mkdir()
    (folder / HOSTILE).write_bytes(b'no image')
    Image.new('RGB', (60, 50)).save(folder / '$x^{\x1b[31m.png')
    arguments = ('infer', MSRC21, 'tiny.pth', folder, '--out-dir', 'out', '--sheets')
    result = run_tool(*arguments, options=tiny_options)
    assert result.status == 1
    errors = [line for line in result.err.splitlines() if line.startswith('error: ')]
    (error,) = errors
    assert f'in/{SHOWN} cannot be decoded' in error
    assert '\x1b[31m' not in result.out + result.err.replace('\x1b[A', '')
    assert '1 of 2 images written to out' in result.out


def test_warnings_logs_tables_and_progress_bars(tiny_config, tmp_path, capsys):
    path = tmp_path / 'a\x1b[31m\nb.png'
    cv2.imwrite(str(path), np.full((4, 4, 3), 100, np.uint16))
    assert r'a\x1b[31m\nb.png has 16-bit values' in too_dark(str(path), np.zeros(1, np.uint8))
    runner = EncNetRunner.from_cfg(tiny_config())
    record = logging.LogRecord('x', logging.INFO, '', 0, '%s\n| table |', ('a\x1b[31m',), None)
    for handler in runner.logger.handlers:
        handler.handle(record)
    (log,) = Path(runner.log_dir).glob('*.log')
    assert 'a\\x1b[31m\n| table |' in log.read_text()
    assert '\x1b[31m' not in ''.join(capsys.readouterr())
    assert markdown_table(['a'], [['x|y\nz']]).splitlines()[-1] == r'| x\|y\nz |'
    with warnings.catch_warnings(), byte_bar('unpacking a\x1b[31m\nb.zip', 10) as bar:
        assert bar.desc.startswith(r'unpacking a\x1b[31m\nb.zip')
