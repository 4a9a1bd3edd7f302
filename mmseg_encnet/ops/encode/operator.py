"""The operator shared by the backends with a hand-written backward."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mmseg_encnet.ops.custom_op import Backward, Forward, make_operator
from mmseg_encnet.ops.encode import traceable
from mmseg_encnet.ops.numerics import compute_dtype, result_dtype


def make_encode(name: str, forward: Forward, backward: Backward) -> Callable[..., Tensor]:
    """Build ``encode(x, codewords, scale)`` from its two halves.

    Args:
        name: See :func:`make_operator`.
        forward: ``(x, codewords, scale, keep)`` -> the encoding ``(B, K, C)`` and, if `keep` is
            set, the squared distances ``(B, K, N)`` in the compute dtype, otherwise an empty
            tensor.
        backward: ``(grad, x, codewords, scale, distances)`` -> gradients of ``x``, ``codewords``
            and ``scale``.
    """

    def fake(x, codewords, scale, keep):
        batch, channels, positions = x.shape
        codes = codewords.shape[0]
        return (
            x.new_empty((batch, codes, channels), dtype=result_dtype(x, codewords)),
            x.new_empty(
                (batch, codes, positions) if keep else (0,), dtype=compute_dtype(x, codewords)
            ),
        )

    operator = make_operator(
        name, forward, backward, fake, lambda *tensors: (traceable.encode(*tensors),), 3
    )
    return lambda *tensors: operator(*tensors)[0]
