"""Count the memory that PyTorch would allocate, on the ``meta`` device.

Tensors on this device have a size and a lifetime, but no data, so a network of any size runs in
seconds. :class:`Meter` sees each operation and knows when each result is freed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmseg_encnet.ops.custom_op import IMPLEMENTATIONS


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that operations create while it is active.

    The workspace of this package's operators counts too. That of other operators does not: it is
    chosen by the libraries of the device, such as cuDNN.

    Operations whose result depends on values get a plausible one, because there are no values: a
    number that is read is one, and a mask selects everything, which needs the most memory.

    Attributes:
        live: Bytes that are allocated now, by label.
        peak: The largest number of bytes allocated at a time, since :meth:`restart`.
        label: What the next tensors belong to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peak = 0
        self.label = 'other'
        self._known: set[int] = set()

    @property
    def total(self) -> int:
        """Bytes that are allocated now."""
        return self.live.total()

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak = self.total

    @contextlib.contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Label the tensors that are created in a block."""
        former, self.label = self.label, label
        try:
            yield
        finally:
            self.label = former

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed, unless it counts already."""
        storage, label = tensor.untyped_storage(), self.label
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live[label] += size
        self.peak = max(self.peak, self.total)

        def free() -> None:
            self._known.discard(key)
            self.live[label] -= size

        # Not at the exit of the interpreter.
        weakref.finalize(storage, free).atexit = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        results = self._run(func, args, kwargs or {})
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self.add(result)
        return results

    def _run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        substitute = _SUBSTITUTES.get(func)
        if substitute is not None:
            return substitute(func, *args, **kwargs)
        namespace, _, name = func.name().partition('::')
        if namespace == 'mmseg_encnet':
            # What is allocated inside counts too.
            with self:
                return IMPLEMENTATIONS[name](*args, **kwargs)
        return func(*args, **kwargs)


def _read_one(func: Any, tensor: Tensor) -> Any:
    return torch.ones((), dtype=tensor.dtype, device='cpu').item()


def _all_positions(func: Any, tensor: Tensor) -> Tensor:
    return tensor.new_empty((tensor.numel(), tensor.dim()), dtype=torch.long)


def _select_all(func: Any, tensor: Tensor, indices: list[Tensor | None]) -> Tensor:
    masks = [index for index in indices if index is not None and index.dtype == torch.bool]
    if not masks:
        return func(tensor, indices)
    position = next(i for i, index in enumerate(indices) if index is not None)
    end = position + masks[0].dim()
    return tensor.new_empty((*tensor.shape[:position], masks[0].numel(), *tensor.shape[end:]))


def _keep(func: Any, tensor: Tensor, *others: Any, **options: Any) -> Tensor:
    return tensor


_SUBSTITUTES: dict[Any, Callable] = {
    torch.ops.aten._local_scalar_dense.default: _read_one,
    torch.ops.aten.nonzero.default: _all_positions,
    torch.ops.aten.index.Tensor: _select_all,
    torch.ops.aten.index_put_.default: _keep,
}
