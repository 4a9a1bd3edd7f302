"""Compare the results of two runs bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Timings, and entries that depend on them.
_UNEQUAL = ('time', 'eta', 'memory')


def without_timings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a log line or checkpoint entry that does not depend on timing."""
    return {
        key: value
        for key, value in values.items()
        if key != 'cfg' and not any(word in str(key) for word in _UNEQUAL)
    }


def assert_same(one: Any, other: Any, where: str = 'checkpoint') -> None:
    """Assert that two nested structures of plain data have the same bits."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        one, other = without_timings(one), without_timings(other)
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_same(value, other[key], f'{where}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (mine, yours) in enumerate(zip(one, other)):
            assert_same(mine, yours, f'{where}[{index}]')
    elif isinstance(one, torch.Tensor):
        # As bytes, to distinguish the signs of zeros.
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    elif isinstance(one, np.ndarray):
        assert one.tobytes() == other.tobytes(), where
    elif isinstance(one, HistoryBuffer):
        for mine, yours in zip(one.data, other.data):
            assert_same(mine, yours, where)
    else:
        # Paths differ in their folder.
        assert str(one).rpartition('/')[2] == str(other).rpartition('/')[2], where
