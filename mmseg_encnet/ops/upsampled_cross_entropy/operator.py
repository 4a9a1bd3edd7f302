"""The operator shared by the backends that compute the gradient in the forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_encnet.ops.custom_op import Forward, make_operator
from mmseg_encnet.ops.upsampled_cross_entropy import reference


def _backward(
    grad: Tensor,
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
    kept: Tensor,
) -> Tensor:
    return (kept * grad).to(logits.dtype)


def _fake(
    logits, label, class_weight, pixel_weight, align_corners, ignore_index, label_smoothing,
    use_sigmoid, keep,
):  # fmt: skip
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return (
        logits.new_empty((), dtype=dtype),
        logits.new_empty((), dtype=dtype),
        label.new_empty(()),
        label.new_empty(()),
        torch.empty_like(logits if keep else logits[:0], dtype=dtype),
    )


def make_cross_entropy(name: str, forward: Forward) -> Callable[..., tuple[Tensor, ...]]:
    """Build an operator with the arguments and results of :func:`reference.sums`.

    Args:
        name: See :func:`make_operator`.
        forward: The same arguments and `keep` -> the same results and, if `keep` is set, the
            gradient of the logits in the compute dtype, otherwise an empty tensor.
    """
    return make_operator(name, forward, _backward, _fake, reference.sums, 1)
