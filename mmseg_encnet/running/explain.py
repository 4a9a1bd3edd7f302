"""Turn exceptions that the user can fix into one sentence.

:mod:`mmseg_encnet.program` prints recognised errors without a traceback and exits with status 2;
anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from pathlib import Path

from mmseg_encnet.disk import explain_os_error, shared_memory_sentence
from mmseg_encnet.errors import UserError, printable

# Folder in which tools/torchrun.py collects the sentences of its processes.
ERRORS = 'MMSEG_ENCNET_ERRORS'
# Its file that says how a run has stopped, as JSON: the line and the exit status.
STOPPED = 'stopped'

# Type and message of an exception of PyTorch or the toolbox, and the sentence for it.
_SENTENCES = (
    (
        RuntimeError,
        r'(\w+) does not have a deterministic implementation',
        '{} of PyTorch has no deterministic implementation; train without --deterministic '
        '(randomness.deterministic of the config), or with another layer or loss.',
    ),
    (
        RuntimeError,
        r'expected input\[.*\] to have (\d+) channels, but got (\d+) channels',
        'a layer of the model expects {} channels, got {}; correct in_channels or in_index of the '
        'heads in the config.',
    ),
    (
        TypeError,
        r'([\w.]+?)(?:\.__init__|(?<=save_checkpoint))\(\) got an unexpected keyword argument '
        r"'(\w+)'",
        '{1!r} is not an argument of {0}; correct the key in the config or in --cfg-options.',
    ),
    (
        TypeError,
        r'(\w+)\.__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)',
        '{} needs {}; add it to the config or with --cfg-options.',
    ),
    (
        # check_types leaves names with a scope to their toolbox.
        KeyError,
        r'(\S+) is not in the (\S+) registry',
        'type={!r} in the config is not in the registry {}; correct it.',
    ),
)
# From PyTorch, in this process or in one that loads data.
_SHARED_MEMORY = re.compile(
    r'(?:shared memory ?\(shm\)|shared memory object|write to file|mmap \d+ bytes from file) '
    r'.*</torch_\w+>.*: ([\w -]+) \(\d+\)|Bus error.*(out of shared memory)'
)
_WORKER_SENTENCE = re.compile(r'^\S*errors\.UserError: (.+)$', re.MULTILINE)


class Stopped(Exception):
    """A run has stopped on request, which is no error.

    Attributes:
        line: What was done, in one sentence.
        status: Exit status.
    """

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.line = line
        self.status = status


def report_stop(line: str, status: int) -> int:
    """Print that a run has stopped, and return the exit status of this process.

    A process of ``tools/torchrun.py`` leaves line and status to the launcher and ends with 0: the
    launcher would end the other processes when the first one fails, or restart them.
    """
    folder = os.environ.get(ERRORS)
    if folder is not None:
        aside = Path(folder, f'{STOPPED}.{os.getpid()}')
        try:
            aside.write_text(json.dumps([line, status]))
            # The first one counts.
            with contextlib.suppress(FileExistsError):
                os.link(aside, Path(folder, STOPPED))
            aside.unlink()
            return 0
        except OSError:
            pass
    print(line, file=sys.stderr)
    return status


def report(sentence: str) -> None:
    """Print a sentence or, in a process of ``tools/torchrun.py``, leave it to the launcher.

    A launcher that restarts the processes may print it much later, so it is printed now, too.
    """
    folder = os.environ.get(ERRORS)
    recorded = folder is not None and _create(Path(folder), sentence) is not None
    if recorded and os.environ.get('TORCHELASTIC_MAX_RESTARTS', '0') == '0':
        return
    if not _reported(sentence):
        print(f'error: {sentence}', file=sys.stderr)


def _create(folder: Path, sentence: str) -> bool | None:
    """Write a sentence to a file named after it.

    Returns:
        False if the file exists, and None if it cannot be written.
    """
    try:
        with (folder / hashlib.sha256(sentence.encode()).hexdigest()).open(
            'x', encoding='utf-8'
        ) as file:
            file.write(sentence)
    except FileExistsError:
        return False
    except OSError:
        return None
    return True


def _reported(sentence: str) -> bool:
    """Return whether another process of torchrun on this machine has printed the sentence."""
    error_file = os.environ.get('TORCHELASTIC_ERROR_FILE')
    if not error_file:
        return False
    # A folder per process, inside one per attempt.
    return _create(Path(error_file).parents[1], sentence) is False


def _explain_encoding(error: UnicodeEncodeError) -> str:
    place = ascii(error.object[max(0, error.start - 20) : error.start + 20])
    names = sys.getfilesystemencoding()
    # Python represents bytes in file names that it cannot decode by half surrogate pairs.
    undecoded = '\udc80' <= error.object[error.start] <= '\udcff'
    if undecoded and names == 'utf-8':
        return f'a file name contains bytes that are not UTF-8, at {place}; rename the file.'
    encoding = names if undecoded else error.encoding
    return (
        f'text contains characters outside {encoding}, the encoding of this environment, at '
        f'{place}; set PYTHONUTF8=1 or LC_ALL=C.UTF-8.'
    )


def explain(error: BaseException) -> str | None:
    """Return the sentence for an exception, or None if it is a bug."""
    sentence = _sentence(error)
    return None if sentence is None else printable(sentence)


def _sentence(error: BaseException) -> str | None:
    message = str(error.args[0]) if error.args else str(error)
    if isinstance(error, UserError):
        # From a data loading worker, the sentence is the end of the worker's traceback.
        in_worker = _WORKER_SENTENCE.findall(str(error))
        return (in_worker[-1] if in_worker else message).strip()
    if isinstance(error, OSError):
        return explain_os_error(error)
    if isinstance(error, UnicodeEncodeError):
        return _explain_encoding(error)
    if isinstance(error, RuntimeError):
        match = _SHARED_MEMORY.search(message)
        if match:
            return shared_memory_sentence(match.group(1) or match.group(2))
    for kind, pattern, sentence in _SENTENCES:
        if isinstance(error, kind) and (match := re.search(pattern, message)):
            return sentence.format(*match.groups())
    return None
