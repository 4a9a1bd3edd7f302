"""Masks as COCO's run-length code, with its counts packed into a string or in a list.

Not by ``pycocotools.mask.decode``: for counts that do not fill the mask it returns whatever its
memory held.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode(counts: str | Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask of a run-length code, ``(height, width)`` bool.

    Args:
        counts: Lengths of the runs, column by column, of zeros and ones in turn, zeros first; as
            numbers or packed into COCO's string.

    Raises:
        ValueError: If the counts are no such code, or do not add up to the size of the mask.
    """
    runs = _unpack(counts) if isinstance(counts, str) else np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind not in 'iu' or (runs < 0).any():
        raise ValueError('its counts are no run lengths')
    # The largest first: a sum of absurd lengths could wrap around.
    if runs.max(initial=0) > height * width or runs.sum() != height * width:
        raise ValueError(f'its runs do not add up to the {height * width} pixels of the mask')
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _unpack(packed: str) -> np.ndarray:
    """Run lengths from the string: digits of five bits, a bit for more, offset by 48.

    From the fourth on, what is stored is the difference to the run before the last.
    """
    if not packed:
        raise ValueError('its counts are empty')
    digits = np.array([ord(character) for character in packed]) - 48
    if digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError('its counts are not packed as COCO does')
    ends = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError('its counts are no run lengths')
    shifts = 5 * (np.arange(len(digits)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((digits & 31) << shifts, starts)
    runs -= np.where(digits[ends] & 16, np.left_shift(1, 5 * lengths), 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
