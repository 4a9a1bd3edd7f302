"""The classes present in a label map: the targets of the SE loss."""

from __future__ import annotations

import torch
from torch import Tensor


def presence_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Return the 0/1 vector of the classes present in each label map (paper, section 2.2).

    Values outside ``[0, num_classes)``, such as the ignore index, are not counted.

    Args:
        labels: Class indices, ``(B, ...)``, any integer dtype; any size may be 0.
        num_classes: Number of classes.

    Returns:
        ``(B, num_classes)``, float32.

    Raises:
        ValueError: ``labels`` are not integers or ``num_classes`` is not positive.
    """
    if labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise ValueError(
            f'got labels of dtype {labels.dtype}, expected an integer dtype; '
            'pass class indices, not scores.'
        )
    if num_classes < 1:
        raise ValueError(f'num_classes must be positive, got {num_classes}.')
    # Values that are not a class go to an extra column at either end; both are cut off.
    columns = labels[:, None].flatten(1).long().clamp(-1, num_classes).add_(1)
    present = torch.zeros(columns.shape[0], num_classes + 2, device=columns.device)
    ones = present.new_ones(()).expand_as(columns)
    return present.scatter_(1, columns, ones)[:, 1:-1].contiguous()
