"""The table of backends: dispatch, messages, benchmarks and config checks all read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.autotune import Autotuner, Run
from mmseg_encnet.ops.encode import dense, mmcv, native, reference, triton
from mmseg_encnet.ops.encode.auto import Automatic, setting


@dataclass(frozen=True)
class Backend:
    """One way to compute the encoding.

    Attributes:
        name: Value of the argument ``backend`` that selects it.
        run: ``(x, codewords, scale)`` -> the encoding ``(B, K, C)`` of features ``(B, C, N)``.
        refusal: ``(*tensors)`` -> why the backend cannot take these tensors or, without any, why
            it cannot run on this machine at all; None if it can. A reason has the form "problem;
            remedy".
        variants: ``(*tensors)`` -> functions to time in place of `run` on a GPU, by name, for
            example the same kernels with other tile sizes.
    """

    name: str
    run: Callable[[Tensor, Tensor, Tensor], Tensor]
    refusal: Callable[..., str | None]
    variants: Callable[..., Mapping[str, Run]] | None = None

    def candidates(self, *tensors: Tensor) -> dict[str, Run]:
        """Return what to time for these tensors, by name."""
        if self.variants is None:
            return {self.name: self.run}
        return {f'{self.name}/{name}': run for name, run in self.variants(*tensors).items()}

    def explain(self, reason: str) -> str:
        """Return the error message for a refusal."""
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
# Backends that 'auto' tries without timing them, fastest first, and those that it times on a GPU,
# the reference first.
AUTO = ('native', FALLBACK)
TIMED = (FALLBACK, 'triton')
AUTOMATIC = Automatic(BACKENDS, AUTO, TIMED, Autotuner('encode'))


def named(name: str) -> Backend:
    """Return a backend by its name.

    Raises:
        UserError: The name is unknown.
    """
    if name not in BACKENDS:
        raise UserError(
            f'unknown backend {name!r}; choose one of {", ".join(("auto", *BACKENDS))}.'
        )
    return BACKENDS[name]


def check_backend(name: str) -> None:
    """Check that a backend exists and runs on this machine, before there are any tensors.

    Raises:
        UserError: The backend is unknown or cannot run; the message says why.
    """
    if name == 'auto':
        name = setting(tuple(BACKENDS))
        if name not in BACKENDS:
            return
    backend = named(name)
    reason = backend.refusal()
    if reason is not None:
        raise UserError(backend.explain(reason))
