"""Flip bits in a checkpoint and classify the outcome."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mmseg_encnet.checkpoints.files import read_checkpoint
from mmseg_encnet.errors import UserError


class Outcome(enum.Enum):
    """The outcome of a flipped bit."""

    REFUSED = 'refused in one sentence'
    SAME_WEIGHTS = 'read, with the weights that were written'
    OTHER_WEIGHTS = 'read with other weights'


def small_checkpoint(path: Path) -> Path:
    """Write a checkpoint of a few kilobytes with all kinds of entries."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(
        dict(meta=dict(epoch=0, iter=3, cfg='model = dict()'), state_dict=model.state_dict()), path
    )
    return path


def try_flips(path: Path, bits: Iterable[int]) -> Counter[Outcome]:
    """Read a checkpoint once with each of the given bits flipped.

    Any exception but :class:`UserError` is a defect and is not caught.
    """
    whole = path.read_bytes()
    weights = read_checkpoint(path)[0]
    outcomes: Counter[Outcome] = Counter()
    other = path.with_name(f'flipped_{path.name}')
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        other.write_bytes(content)
        try:
            read = read_checkpoint(other)[0]
        except UserError as error:
            assert str(other) in str(error)
            outcomes[Outcome.REFUSED] += 1
        else:
            same = _same(read, weights)
            outcomes[Outcome.SAME_WEIGHTS if same else Outcome.OTHER_WEIGHTS] += 1
    return outcomes


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        value.dtype == other[key].dtype and torch.equal(value, other[key])
        for key, value in one.items()
    )
