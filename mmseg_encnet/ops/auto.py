"""What ``backend='auto'`` of an operator runs.

On the CPU, the first backend of a fixed order that takes the tensors. On a GPU, the fastest of
those that were timed on it (:mod:`mmseg_encnet.ops.autotune`). The environment variable
``MMSEG_ENCNET_BACKEND`` replaces ``'auto'`` with the name of a backend; ``untimed`` uses the fixed
order on a GPU, too, and so does an operator that has no backend of the name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.autotune import Autotuner, Run, can_time

SETTING = 'MMSEG_ENCNET_BACKEND'
# Names of the backends of all operators, in order of appearance.
_NAMES: dict[str, None] = {}


def setting() -> str:
    """Return the value of the environment variable, ``'auto'`` if it is not set.

    Raises:
        UserError: The value is neither a backend of an operator nor ``auto`` nor ``untimed``.
    """
    value = os.environ.get(SETTING) or 'auto'
    if value not in ('auto', 'untimed', *_NAMES):
        raise UserError(
            f'got {SETTING}={value!r}, expected one of auto, untimed, {", ".join(_NAMES)}; '
            'correct or unset it.'
        )
    return value


class Automatic:
    """The choice of ``'auto'``.

    Args:
        backends: Backends by name.
        order: Names in the fixed order; the last one takes all tensors.
        timed: Names of the backends that are timed on a GPU, the reference first.
        tuner: What times them.
        devices: Types of the devices on which they are timed.
    """

    def __init__(
        self,
        backends: Mapping,
        order: Sequence[str],
        timed: Sequence[str],
        tuner: Autotuner,
        devices: frozenset[str] = frozenset({'cuda'}),
    ) -> None:
        self._backends, self._order, self._timed = backends, tuple(order), tuple(timed)
        self._tuner, self._devices = tuner, devices
        _NAMES.update(dict.fromkeys(backends))

    def run_for(self, *arguments: Any) -> Run:
        """Return the function that computes the operator of these arguments, a tensor first.

        Raises:
            UserError: The environment variable is not valid.
            ValueError: The backend that it names does not take these arguments.
        """
        chosen = setting()
        if chosen in self._backends:
            backend = self._backends[chosen]
            reason = backend.refusal() or backend.refusal(*arguments)
            if reason is not None:
                raise ValueError(f'{SETTING}={chosen} cannot be used: {reason}, or unset it.')
            return backend.run
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        if chosen == 'auto' and can_time(tensors, self._devices):
            return self._tuner.choose(lambda: self._candidates(arguments), *arguments)
        return next(
            self._backends[name].run
            for name in self._order
            if self._backends[name].refusal(*arguments) is None
        )

    def _candidates(self, arguments: Sequence[Any]) -> dict[str, Run]:
        backends = [self._backends[name] for name in self._timed]
        return {
            name: run
            for backend in backends
            if backend.refusal(*arguments) is None
            for name, run in backend.candidates(*arguments).items()
        }
