"""Holding what two trainings left to each other, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Times, and what depends on them.
_UNEQUAL = ('time', 'eta', 'memory')


def without_timings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a log line or a checkpoint's entry two equal trainings have in common."""
    return {
        key: value
        for key, value in values.items()
        if key != 'cfg' and not any(word in str(key) for word in _UNEQUAL)
    }


def assert_same(one: Any, other: Any, where: str = 'checkpoint') -> None:
    """Hold two nested structures of plain data to each other, bit for bit."""
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
        # As bytes, so that not even the sign of a zero may differ.
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    elif isinstance(one, np.ndarray):
        assert one.tobytes() == other.tobytes(), where
    elif isinstance(one, HistoryBuffer):
        for mine, yours in zip(one.data, other.data):
            assert_same(mine, yours, where)
    else:
        # The two trained in folders of different names.
        assert str(one).rpartition('/')[2] == str(other).rpartition('/')[2], where
