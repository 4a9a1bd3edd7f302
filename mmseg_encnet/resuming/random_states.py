"""The states of the random number generators of a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture_states() -> dict[str, Any]:
    """The states of Python's, numpy's and PyTorch's generators, as plain data and tensors.

    Checkpoints hold them, and are read as plain data alone.
    """
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    states = dict(
        python=(version, torch.tensor(words), gauss),
        numpy=(
            str(kind),
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def restore_states(states: dict[str, Any]) -> None:
    """Put the generators back to where :func:`capture_states` saw them."""
    version, words, gauss = states['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *rest = states['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Draw random numbers on the CPU from a seed of their own, and leave no trace.

    Args:
        *entropy: Non-negative integers; each combination gives other numbers.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second, third, fourth = np.random.SeedSequence(entropy).generate_state(4).tolist()
    random.seed(first)
    np.random.seed(second)
    # torch.manual_seed would reseed the GPUs as well.
    torch.default_generator.manual_seed(third << 32 | fourth)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
