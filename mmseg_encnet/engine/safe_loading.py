"""Loading checkpoints without letting them run code.

A pickle from a stranger can run anything. PyTorch can refuse whatever is not plain data, but the
toolbox's own checkpoints hold, beside the weights, the histories of the training log and numpy
scalars, and where those are refused the toolbox falls back to full unpickling.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def refuse_code_in_checkpoints() -> None:
    """Have every ``torch.load`` of this process read plain data alone, whatever its caller asks."""
    # torch honours this over its caller's weights_only=False.
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    allow_plain_data()


def allow_plain_data() -> None:
    """Let ``torch.load(weights_only=True)`` read the plain data that training logs consist of."""
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    dtypes = [value for value in vars(np.dtypes).values() if isinstance(value, type)]
    torch.serialization.add_safe_globals([
        # A HistoryBuffer pickles its statistics by name, through getattr; calling what that
        # returns is refused all the same.
        HistoryBuffer, getattr, slice, multiarray._reconstruct, multiarray.scalar, np.ndarray,
        np.dtype, *dtypes
    ])
