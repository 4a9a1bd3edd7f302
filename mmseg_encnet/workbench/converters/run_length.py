"""Decoding COCO's run-length masks, with counts in a list or packed into a string.

``pycocotools.mask.decode`` is not used, because it returns uninitialised memory for counts that do
not fill the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode(counts: str | Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the mask of a run-length code, ``(height, width)`` bool.

    Args:
        counts: Lengths of alternating runs of zeros and ones in column order, zeros first, as
            numbers or packed into COCO's string.

    Raises:
        ValueError: The counts are invalid or do not add up to the size of the mask.
    """
    if not isinstance(counts, str) and not {*map(type, counts)} <= {int}:
        raise ValueError('its counts are not run lengths')
    runs = _unpack(counts) if isinstance(counts, str) else np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind not in 'iu' or (runs < 0).any():
        raise ValueError('its counts are not run lengths')
    # The maximum is checked first, because the sum of huge lengths could overflow.
    if runs.max(initial=0) > height * width or runs.sum() != height * width:
        raise ValueError(f'its runs do not add up to the {height * width} pixels of the mask')
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _unpack(packed: str) -> np.ndarray:
    """Return the run lengths of a string of five-bit digits with a continuation bit, offset by 48.

    From the fourth run on, the string holds the difference to the run two places earlier.
    """
    if not packed:
        raise ValueError('its counts are empty')
    digits = np.array([ord(character) for character in packed]) - 48
    if digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError('its counts are not packed in the format of COCO')
    ends = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError('its counts are not run lengths')
    shifts = 5 * (np.arange(len(digits)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((digits & 31) << shifts, starts)
    runs -= np.where(digits[ends] & 16, np.left_shift(1, 5 * lengths), 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
