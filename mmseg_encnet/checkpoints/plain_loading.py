"""Loading checkpoints without letting them run code.

A pickle from a stranger can run anything. PyTorch can refuse whatever is not plain data, but the
toolbox's own checkpoints hold, beside the weights, the histories of the training log and numpy's
arrays and scalars. The toolbox therefore allows ``getattr`` and numpy's constructors in all of
them, which is as good as allowing everything: ``getattr`` leads to ``exec``, and an array of
objects made from bytes to any address in memory. Where even that does not suffice it falls back to
full unpickling. Here each of these names stands for something that can make plain data alone.
"""

from __future__ import annotations

import re
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmseg_encnet.errors import UserError

_PLAIN_TYPE = re.compile(r'[biufcSU]\d{0,4}')
# numpy's NPY_ITEM_REFCOUNT and NPY_LIST_PICKLE.
_HOLDS_OBJECTS = 0b11
REFUSED = (
    'is not a checkpoint, or holds more than plain weights; loading it could run code, so it is '
    'refused. If you trust it, set MMSEG_ENCNET_TRUSTED_CHECKPOINTS to its path.'
)
_STATISTICS = ('mean', 'min', 'max', 'current')


class UnreadableFileError(UserError):
    """A file of weights cannot be read as plain data.

    Args:
        path: The file.
        reason: What is wrong with it, from the verb on.
    """

    def __init__(self, path: Any, reason: str) -> None:
        super().__init__(f'checkpoint {path} {reason}')
        self.reason = reason


def allow_plain_data() -> None:
    """Let ``torch.load(weights_only=True)`` read the plain data that training logs consist of."""
    names = {
        'mmengine.logging.history_buffer.HistoryBuffer': _History,
        'builtins.bytes': _no_bytes,
        'builtins.getattr': _statistics_method,
        'numpy.ndarray': _Array,
        'numpy.dtype': _PlainDtype,
    }
    # The second one is how numpy before 2.0 calls it.
    for core in ('numpy._core', 'numpy.core'):
        names[f'{core}.multiarray._reconstruct'] = _empty_array
        names[f'{core}.multiarray.scalar'] = _scalar
    torch.serialization.add_safe_globals([slice, *((made, name) for name, made in names.items())])


def load_plain(path: Any, map_location: Any = None) -> Any:
    """``torch.load`` of a file, as plain data alone.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableFileError: If it is damaged, no checkpoint, or holds more than plain data.
    """
    allow_plain_data()
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except UnpicklingError as error:
        raise UnreadableFileError(path, REFUSED) from error
    except Exception as error:
        # What is no pickle at all can fail in any way: its bytes are taken for instructions.
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip('.')
        raise UnreadableFileError(
            path,
            f'cannot be read: {type(error).__name__}: {reason}; it is truncated or no checkpoint.',
        ) from error


class _History:
    """Becomes a ``HistoryBuffer`` once its state is known to be numbers."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The state also holds the table of statistics, shared by all histories of the process.
        self.__dict__ = dict(
            max_length=int(state['max_length']),
            _log_history=_plain_array(state['_log_history']),
            _count_history=_plain_array(state['_count_history']),
        )
        self.__class__ = HistoryBuffer
        self._set_default_statistics()


def _statistics_method(owner: Any, name: str) -> str:
    """In place of ``getattr``, by which a history pickles its methods."""
    if owner is not _History or name not in _STATISTICS:
        raise UnpicklingError(f'getattr of {name!r} is refused')
    return name


class _PlainDtype:
    """In place of ``numpy.dtype``: numbers and text, never objects, whatever state follows."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise UnpicklingError(f'arrays of {name!r} are refused')
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        _, order, *structure, _, _, flags = state
        if any(part is not None for part in structure) or flags & _HOLDS_OBJECTS:
            raise UnpicklingError('arrays of structures or objects are refused')
        self.value = self.value.newbyteorder(order)


class _Array(np.ndarray):
    """In place of ``numpy.ndarray``; pickled again it is a plain one."""

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
        raise UnpicklingError(f'a history of {type(value).__name__} is refused')
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
        raise UnpicklingError(f'{type(value).__name__} is no type of numbers')
    return value.value


def _no_bytes(*arguments: Any) -> bytes:
    """In place of ``bytes``, by which pickle's second protocol writes an empty one."""
    if arguments:
        raise UnpicklingError('bytes of something are refused')
    return b''


def _plain_bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise UnpicklingError(f'{type(data).__name__} came for the bytes of an array')
    return data
