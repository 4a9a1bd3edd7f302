"""Load checkpoint files without letting them run code.

Unpickling a file can run any code. PyTorch can refuse everything but plain data, but the
toolbox's own checkpoints also hold the histories of the training log and numpy arrays and scalars.
To read those, the toolbox allows ``getattr`` and numpy's constructors, which amounts to allowing
everything: ``getattr`` leads to ``exec``, and an object array built from bytes points anywhere in
memory. If even that is not enough, it falls back to full unpickling. Here each of these names is
replaced by something that can only build plain data, and full unpickling is limited to files that
:func:`trust` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.shipped_weights import is_packed, unpack
from mmseg_encnet.checkpoints.tensor_files import SUFFIX, is_tensor_file, plain_meta, read_tensors
from mmseg_encnet.checkpoints.whole_files import check_undamaged
from mmseg_encnet.errors import UserError, type_and_first_line

TRUSTED = 'MMSEG_ENCNET_TRUSTED_CHECKPOINTS'
FORCED = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
REFUSED = (
    'is not a checkpoint or contains more than plain data, and loading it could run code; use '
    f'another file or, if you trust this one, set {TRUSTED} to its path.'
)
_PLAIN_TYPE = re.compile(r'[biufcSU]\d{0,4}')
# numpy's NPY_ITEM_REFCOUNT and NPY_LIST_PICKLE.
_HOLDS_OBJECTS = 0b11
_STATISTICS = ('mean', 'min', 'max', 'current')
_trusted: set[Path] = set()


class UnreadableFileError(UserError):
    """A checkpoint file cannot be read as plain data.

    Args:
        path: File or address.
        reason: What is wrong with it, starting with a verb.
    """

    def __init__(self, path: Any, reason: str) -> None:
        super().__init__(f'checkpoint {path} {reason}')
        self.reason = reason


def trust(path: str | Path) -> None:
    """Allow one local checkpoint file to be unpickled in full, which can run any code in it.

    The environment variable ``MMSEG_ENCNET_TRUSTED_CHECKPOINTS`` does the same for the tools: one
    or more files, separated as in ``PATH``.
    """
    _trusted.add(_resolved(path))


def is_trusted(path: str | Path) -> bool:
    """Return whether :func:`trust` or the environment names a file."""
    listed = filter(None, os.environ.get(TRUSTED, '').split(os.pathsep))
    return _resolved(path) in {*_trusted, *map(_resolved, listed)}


# Other loaders of local files read the weights at best, not the classes.
@CheckpointLoader.register_scheme(prefixes=f'(?!.*://).*{re.escape(SUFFIX)}$')
def load_from_local(filename: str | Path, map_location: Any = None) -> Any:
    """Load a local checkpoint: plain data, or anything if the file is trusted.

    A safetensors file becomes a dict with ``state_dict`` and ``meta``, like the toolbox's files.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedFileError: The file does not match its checksums.
        UnreadableFileError: The file is not a checkpoint, or contains more than plain data.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{filename} does not exist.')
    if is_tensor_file(path):
        return _load_tensors(path, map_location)
    check_undamaged(path)
    if is_trusted(path):
        with environment(FORCED, None), path.open('rb') as file:
            return torch.load(file, map_location=map_location, weights_only=False)
    try:
        # Given a path, torch chooses the format by the suffix.
        with plain_data(), path.open('rb') as file:
            return torch.load(file, map_location=map_location, weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except UnpicklingError as error:
        raise UnreadableFileError(path, REFUSED) from error
    except Exception as error:
        # Bytes that are not a pickle are interpreted as its instructions and can fail in any way.
        raise UnreadableFileError(
            path,
            f'cannot be read ({type_and_first_line(error)}); it is truncated or not a checkpoint.',
        ) from error


def _load_tensors(path: Path, map_location: Any) -> dict[str, Any]:
    tensors, facts = read_tensors(path)
    meta = plain_meta(path, facts)
    if is_packed(facts):
        tensors, classes = unpack(tensors, facts)
        meta = dict(dataset_meta=classes)
    if map_location is not None:
        tensors = {key: value.to(map_location) for key, value in tensors.items()}
    return dict(state_dict=tensors, meta=meta)


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable for a while; None unsets it."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def plain_data() -> torch.serialization.safe_globals:
    """Return the context in which ``weights_only`` loads accept the plain data of training logs."""
    names = {
        'mmengine.logging.history_buffer.HistoryBuffer': _History,
        'builtins.bytes': _no_bytes,
        'builtins.getattr': _statistics_method,
        'numpy.ndarray': _Array,
        'numpy.dtype': _PlainDtype,
    }
    # The second is its name before numpy 2.0.
    for core in ('numpy._core', 'numpy.core'):
        names[f'{core}.multiarray._reconstruct'] = _empty_array
        names[f'{core}.multiarray.scalar'] = _scalar
    made = [(value, name) for name, value in names.items()]
    return torch.serialization.safe_globals([slice, *made])


def _resolved(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


class _History:
    """Placeholder that becomes a ``HistoryBuffer`` once its state is known to be numbers."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The rest of the state is the table of statistics, which all histories in a process share.
        self.__dict__ = dict(
            max_length=int(state['max_length']),
            _log_history=_plain_array(state['_log_history']),
            _count_history=_plain_array(state['_count_history']),
        )
        self.__class__ = HistoryBuffer
        self._set_default_statistics()


def _statistics_method(owner: Any, name: str) -> str:
    """Replace ``getattr``, through which a history pickles its methods."""
    if owner is not _History or name not in _STATISTICS:
        raise UnpicklingError(f'getattr of {name!r} is not allowed')
    return name


class _PlainDtype:
    """Replacement for ``numpy.dtype``: numbers and text, never objects, regardless of its state."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise UnpicklingError(f'arrays of {name!r} are not allowed')
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        _, order, *structure, _, _, flags = state
        if any(part is not None for part in structure) or flags & _HOLDS_OBJECTS:
            raise UnpicklingError('arrays of structures or objects are not allowed')
        self.value = self.value.newbyteorder(order)


class _Array(np.ndarray):
    """Replacement for ``numpy.ndarray``; pickles as a plain array."""

    def __new__(cls, *_: Any) -> _Array:
        return super().__new__(cls, (0,))

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        values = np.frombuffer(_plain_bytes(data), _dtype(dtype)).reshape(
            tuple(map(int, shape)), order='F' if fortran else 'C'
        )
        super().__setstate__((1, values.shape, values.dtype, bool(fortran), data))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain_array(self).__reduce_ex__(protocol)


def _plain_array(value: Any) -> np.ndarray:
    if not isinstance(value, _Array):
        raise UnpicklingError(f'got a history of {type(value).__name__}, expected an array')
    return value.view(np.ndarray)


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    value = _dtype(dtype)
    if not value.itemsize:
        return value.type()
    return np.frombuffer(_plain_bytes(data), value, count=1)[0]


def _dtype(value: Any) -> np.dtype:
    if not isinstance(value, _PlainDtype):
        raise UnpicklingError(f'got {type(value).__name__}, expected a numeric type')
    return value.value


def _no_bytes(*arguments: Any) -> bytes:
    """Replace ``bytes``, which pickle protocol 2 calls for empty bytes."""
    if arguments:
        raise UnpicklingError('bytes with arguments are not allowed')
    return b''


def _plain_bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise UnpicklingError(f'got {type(data).__name__}, expected the bytes of an array')
    return data
