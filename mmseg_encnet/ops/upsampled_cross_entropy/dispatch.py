"""The public entries of the operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_encnet.ops.numerics import without_autocast
from mmseg_encnet.ops.upsampled_cross_entropy.backends import AUTOMATIC, BACKENDS


class CrossEntropySums(NamedTuple):
    """What one pass over the labels computes; scalars on the device of the logits.

    Attributes:
        total: Sum of the losses of the labelled pixels, with a gradient; at least float32.
        divisor: What their mean divides by, in the dtype of `total`: the number of labelled pixels;
            with class weights, the sum of their weights; with `use_sigmoid` and several scores,
            whatever the weights, the number of labelled pixels times that of scores.
        correct: Labelled pixels where no class scores higher than the label, int64.
        labelled: Labelled pixels, int64.
    """

    total: Tensor
    divisor: Tensor
    correct: Tensor
    labelled: Tensor


def cross_entropy_sums(
    logits: Tensor,
    label: Tensor,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    use_sigmoid: bool = False,
    backend: str = 'auto',
) -> CrossEntropySums:
    """Return the sum of the losses, its divisor and the number of correct pixels.

    For averages over several processes, other divisors, and the pixel accuracy from the same pass.
    On no device does this wait for a result. See :func:`upsampled_cross_entropy` for the arguments
    and errors.

    Example:
        >>> import torch
        >>> from mmseg_encnet.ops import cross_entropy_sums
        >>> sums = cross_entropy_sums(torch.zeros(1, 4, 2, 2), torch.zeros(1, 8, 8).long())
        >>> sums.divisor, sums.labelled
        (tensor(64.), tensor(64))
    """
    _check(logits, label, class_weight, pixel_weight, label_smoothing, use_sigmoid)
    several = logits.shape[1] > 1
    if use_sigmoid and not several:
        # One score is the difference of two logits of which the first is zero.
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    class_weight = None if class_weight is None else class_weight.to(logits.device, dtype)
    pixel_weight = None if pixel_weight is None else pixel_weight.to(logits.device, dtype)
    arguments = (
        logits,
        label.long(),
        class_weight,
        pixel_weight,
        align_corners,
        ignore_index,
        float(label_smoothing),
        use_sigmoid and several,
    )
    if backend == 'auto':
        run = AUTOMATIC.run_for(*arguments)
    else:
        run = BACKENDS.choose(backend, *arguments).run
    with without_autocast(logits.device):
        return CrossEntropySums(*run(*arguments))


def upsampled_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    use_sigmoid: bool = False,
    backend: str = 'auto',
) -> Tensor:
    """Return the mean cross-entropy of logits resized to the labels, without the resized logits.

    The same as ``F.cross_entropy(F.interpolate(logits, label.shape[1:], mode='bilinear'), label)``
    in value and gradient. The forward pass computes the gradient of the small logits as well, one
    strip of labels at a time, and keeps only that. The computation runs in at least single
    precision, under autocast too.

    Args:
        logits: Scores ``(B, C, h, w)``, any floating dtype and memory layout, smaller or larger
            than the labels.
        label: Class indices ``(B, H, W)``, any integer dtype.
        align_corners: As in ``F.interpolate``.
        ignore_index: Label of unlabelled pixels; it may lie among the classes.
        class_weight: Weight of each class ``(C,)``, without a gradient. The sum is divided by the
            weights of the labelled pixels, as in ``F.cross_entropy``. With `use_sigmoid` and
            several scores, it is the factor of the loss of each class where it is present, as
            ``pos_weight`` of ``F.binary_cross_entropy_with_logits``, and does not change what the
            sum is divided by.
        pixel_weight: Weight of each pixel ``(B, H, W)``, without a gradient. It does not change
            what the sum is divided by.
        label_smoothing: Share of the label that is spread over all classes, in [0, 1].
        use_sigmoid: Whether to use the binary cross-entropy. Logits ``(B, 1, h, w)`` are one score
            for class 1 against class 0; `class_weight` then has two entries. Of several scores,
            each decides between its class and all others, and the loss is the mean over pixels and
            scores; without label smoothing.
        backend: ``'native'`` (a fused kernel for the CPU, built at installation), ``'strips'``
            (plain PyTorch, every device and precision), ``'triton'`` (fused kernels for CUDA),
            ``'reference'`` (the two functions above) or ``'auto'``: on the CPU ``'native'`` where
            it is available, otherwise ``'strips'``; on a GPU the faster of ``'strips'`` and
            ``'triton'``, timed at the first call with inputs of a class (see
            ``MMSEG_ENCNET_BACKEND`` in :mod:`mmseg_encnet.ops.auto`).

    Returns:
        A scalar, at least float32; zero if no pixel is labelled. Differentiable in the logits any
        number of times; second derivatives resize the logits.

    Raises:
        ValueError: A shape, dtype or option does not match, or the backend is unknown, not
            available on this machine or does not take such logits.
        IndexError: On the CPU, a label is neither a class nor ``ignore_index``. (Backend
            ``'triton'`` returns NaN.)

    Example:
        >>> import torch
        >>> from mmseg_encnet.ops import upsampled_cross_entropy
        >>> logits = torch.zeros(2, 4, 8, 8, requires_grad=True)
        >>> label = torch.randint(4, (2, 64, 64))
        >>> upsampled_cross_entropy(logits, label).item()  # log(4)
        1.386294...
    """
    sums = cross_entropy_sums(
        logits,
        label,
        align_corners=align_corners,
        ignore_index=ignore_index,
        class_weight=class_weight,
        pixel_weight=pixel_weight,
        label_smoothing=label_smoothing,
        use_sigmoid=use_sigmoid,
        backend=backend,
    )
    return sums.total / (sums.divisor + (sums.divisor == 0))


def _check(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    label_smoothing: float,
    use_sigmoid: bool,
) -> None:
    if logits.dim() != 4 or not logits.is_floating_point() or logits.shape[1] == 0:
        raise ValueError(
            f'got logits of dtype {logits.dtype} and shape {tuple(logits.shape)}, expected '
            'floating-point (B, C, h, w); pass scores of a feature map.'
        )
    integral = not label.dtype.is_floating_point and not label.dtype.is_complex
    if label.dim() != 3 or not integral or label.shape[0] != logits.shape[0]:
        raise ValueError(
            f'got label of dtype {label.dtype} and shape {tuple(label.shape)}, expected integers '
            f'({logits.shape[0]}, H, W); pass class indices.'
        )
    if label.numel() and 0 in logits.shape[2:]:
        raise ValueError(
            f'got logits of shape {tuple(logits.shape)}, expected at least one position; '
            'pass a larger feature map.'
        )
    if use_sigmoid and logits.shape[1] > 1 and label_smoothing:
        raise ValueError(
            f'got label_smoothing={label_smoothing} with use_sigmoid and {logits.shape[1]} scores, '
            'expected 0; use the softmax or one score.'
        )
    classes = 2 if use_sigmoid and logits.shape[1] == 1 else logits.shape[1]
    for name, weight, shape in (
        ('class_weight', class_weight, (classes,)),
        ('pixel_weight', pixel_weight, tuple(label.shape)),
    ):
        if weight is None:
            continue
        if tuple(weight.shape) != shape:
            raise ValueError(
                f'got {name} of shape {tuple(weight.shape)}, expected {shape}; pass one weight per '
                f'{name.split("_")[0]}.'
            )
        if weight.requires_grad:
            raise ValueError(f'got {name} with a gradient, expected none; detach it.')
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f'label_smoothing must lie in [0, 1], got {label_smoothing}.')
