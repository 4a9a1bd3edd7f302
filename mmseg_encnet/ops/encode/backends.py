"""The table of backends: dispatch, messages, benchmarks and config checks all read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.encode import dense, mmcv, native, reference, triton


@dataclass(frozen=True)
class Backend:
    """One way to compute the encoding.

    Attributes:
        name: What ``backend=`` calls it.
        run: ``(x, codewords, scale)`` -> the encoding ``(B, K, C)`` of features ``(B, C, N)``.
        refusal: ``(*tensors)`` -> why the backend cannot take these tensors or, without any, why
            it cannot run on this machine at all; None if it can. A reason reads "what is wrong;
            what to do".
    """

    name: str
    run: Callable[[Tensor, Tensor, Tensor], Tensor]
    refusal: Callable[..., str | None]

    def explain(self, reason: str) -> str:
        """Return the one sentence about a refusal."""
        return f'backend {self.name!r} cannot be used: {reason}, or use backend={FALLBACK!r}.'


FALLBACK = 'dense'
BACKENDS = {
    backend.name: backend
    for backend in (
        Backend('native', native.encode, native.refusal),
        Backend('dense', dense.encode, lambda *tensors: None),
        Backend('triton', triton.encode, triton.refusal),
        Backend('mmcv', mmcv.encode, mmcv.refusal),
        Backend('reference', reference.encode, lambda *tensors: None),
    )
}
# What 'auto' tries, fastest first. Backends that have only been timed on CPUs are not chosen
# elsewhere, and those that have not been timed at all are not chosen.
AUTO = ('native', FALLBACK)


def fastest(*tensors: Tensor) -> Backend:
    """Return the first backend of `AUTO` that takes these tensors."""
    return next(BACKENDS[name] for name in AUTO if BACKENDS[name].refusal(*tensors) is None)


def named(name: str) -> Backend:
    """Return a backend by its name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in BACKENDS:
        raise UserError(
            f'unknown backend {name!r}; choose one of {", ".join(("auto", *BACKENDS))}.'
        )
    return BACKENDS[name]


def check_backend(name: str) -> None:
    """Check that a backend exists and runs on this machine, before any tensor is there.

    Raises:
        UserError: Saying why not.
    """
    if name == 'auto':
        return
    backend = named(name)
    reason = backend.refusal()
    if reason is not None:
        raise UserError(backend.explain(reason))
