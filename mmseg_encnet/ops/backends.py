"""Backends of an operator, as records in a table that dispatch, messages and benchmarks read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmseg_encnet.errors import UserError


@dataclass(frozen=True)
class Backend:
    """One way to compute an operator.

    Attributes:
        name: Value of the argument ``backend`` that selects it.
        run: Computes the operator from checked arguments.
        refusal: ``(*arguments)`` -> why the backend cannot take these arguments of `run` or,
            without any, why it cannot run on this machine at all; None if it can. A reason has the
            form "problem; remedy".
        variants: ``(*arguments)`` -> functions to time in place of `run` on a GPU, by name, for
            example the same kernels with other tile sizes.
    """

    name: str
    run: Callable[..., Any]
    refusal: Callable[..., str | None]
    variants: Callable[..., Mapping[str, Callable[..., Any]]] | None = None

    def candidates(self, *arguments: Any) -> dict[str, Callable[..., Any]]:
        """Return what to time for these arguments, by name."""
        if self.variants is None:
            return {self.name: self.run}
        return {f'{self.name}/{name}': run for name, run in self.variants(*arguments).items()}


class BackendTable(dict[str, Backend]):
    """The backends of an operator by name.

    Args:
        backends: The records.
        auto: Names of those that ``'auto'`` tries, fastest first: only those whose speed has been
            measured. The last one runs everywhere.
    """

    def __init__(self, backends: Iterable[Backend], auto: tuple[str, ...]) -> None:
        super().__init__((backend.name, backend) for backend in backends)
        self.auto = auto

    def explain(self, name: str, reason: str) -> str:
        """Return the error message for a refusal."""
        return f'backend {name!r} cannot be used: {reason}, or use backend={self.auto[-1]!r}.'

    def named(self, name: str) -> Backend:
        """Return a backend by its name.

        Raises:
            UserError: The name is unknown.
        """
        if name not in self:
            raise UserError(
                f'unknown backend {name!r}; choose one of {", ".join(("auto", *self))}.'
            )
        return self[name]

    def choose(self, name: str, *arguments: Any) -> Backend:
        """Return the backend that runs these arguments.

        Raises:
            ValueError: The backend is unknown (UserError), does not run on this machine or does not
                take the arguments.
        """
        chosen = self.named(name)
        reason = chosen.refusal() or chosen.refusal(*arguments)
        if reason is not None:
            raise ValueError(self.explain(name, reason))
        return chosen

    def check(self, name: str) -> None:
        """Check that a backend exists and runs on this machine, before there are any tensors.

        Raises:
            UserError: The backend is unknown or cannot run; the message says why.
        """
        if name == 'auto':
            return
        reason = self.named(name).refusal()
        if reason is not None:
            raise UserError(self.explain(name, reason))
