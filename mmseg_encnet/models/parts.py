"""The parts of a built segmentor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrapped(model: Any) -> nn.Module:
    """Return the segmentor inside the wrappers of distributed runs and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def heads_of(model: nn.Module, *entries: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the heads of a segmentor by their config entries, such as ``auxiliary_head.0``.

    Args:
        model: The segmentor.
        *entries: ``'decode_head'`` or ``'auxiliary_head'``; by default both.
    """
    for entry in entries or ('decode_head', 'auxiliary_head'):
        part = getattr(model, entry, None)
        if isinstance(part, nn.ModuleList):
            yield from ((f'{entry}.{index}', head) for index, head in enumerate(part))
        elif part is not None:
            yield entry, part


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Use a model in evaluation mode, and then in its former mode again."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
