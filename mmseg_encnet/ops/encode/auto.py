"""What ``backend='auto'`` runs.

On the CPU, the first backend of a fixed order that takes the tensors. On a GPU, the fastest of
those that were timed on it (:mod:`mmseg_encnet.ops.autotune`). The environment variable
``MMSEG_ENCNET_BACKEND`` replaces ``'auto'`` with the name of a backend; ``untimed`` uses the fixed
order on a GPU, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.autotune import Autotuner, Run, can_time

SETTING = 'MMSEG_ENCNET_BACKEND'


def setting(names: Sequence[str]) -> str:
    """Return the value of the environment variable, ``'auto'`` if it is not set.

    Raises:
        UserError: The value is neither a backend nor ``auto`` nor ``untimed``.
    """
    value = os.environ.get(SETTING) or 'auto'
    if value not in ('auto', 'untimed', *names):
        raise UserError(
            f'got {SETTING}={value!r}, expected one of auto, untimed, {", ".join(names)}; '
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

    def run_for(self, *tensors: Tensor) -> Run:
        """Return the function that computes the operator of these tensors.

        Raises:
            UserError: The environment variable is not valid.
            ValueError: The backend that it names does not take these tensors.
        """
        chosen = setting(tuple(self._backends))
        if chosen in self._backends:
            backend = self._backends[chosen]
            reason = backend.refusal() or backend.refusal(*tensors)
            if reason is not None:
                raise ValueError(f'{SETTING}={chosen} cannot be used: {reason}, or unset it.')
            return backend.run
        if chosen == 'auto' and can_time(tensors, self._devices):
            return self._tuner.choose(lambda: self._candidates(tensors), *tensors)
        return next(
            self._backends[name].run
            for name in self._order
            if self._backends[name].refusal(*tensors) is None
        )

    def _candidates(self, tensors: Sequence[Tensor]) -> dict[str, Run]:
        backends = [self._backends[name] for name in self._timed]
        return {
            name: run
            for backend in backends
            if backend.refusal(*tensors) is None
            for name, run in backend.candidates(*tensors).items()
        }
