"""Capture, restore and seed the random number generators of a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture_states() -> dict[str, Any]:
    """Return the states of Python's, numpy's and PyTorch's generators.

    They consist of plain data and tensors, because checkpoints are read as plain data only.
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
    """Restore the states that :func:`capture_states` returned."""
    version, words, gauss = states['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *rest = states['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


@contextmanager
def states_kept() -> Iterator[None]:
    """Restore the states of all generators at the end."""
    states = capture_states()
    try:
        yield
    finally:
        restore_states(states)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the CPU generators inside the context and restore them afterwards.

    Args:
        *entropy: Non-negative integers; each combination gives different random numbers.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second, third, fourth = np.random.SeedSequence(entropy).generate_state(4).tolist()
    random.seed(first)
    np.random.seed(second)
    # torch.manual_seed would also seed the GPUs.
    torch.default_generator.manual_seed(third << 32 | fourth)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
