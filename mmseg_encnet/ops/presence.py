"""Which classes a label map holds: the targets of the semantic encoding loss."""

from __future__ import annotations

import torch
from torch import Tensor


def presence_targets(labels: Tensor, num_classes: int) -> Tensor:
    """0/1 vector of the classes present in each label map (section 2.2 of the paper).

    Values outside ``[0, num_classes)``, such as an ignore label, are left out.

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
            f'labels have dtype {labels.dtype}, expected an integer dtype; '
            'pass class indices, not scores.'
        )
    if num_classes < 1:
        raise ValueError(f'num_classes is {num_classes}, expected at least 1; count the classes.')
    # What is no class goes to one column more at either end; both are cut off.
    columns = labels[:, None].flatten(1).long().clamp(-1, num_classes).add_(1)
    present = torch.zeros(columns.shape[0], num_classes + 2, device=columns.device)
    ones = present.new_ones(()).expand_as(columns)
    return present.scatter_(1, columns, ones)[:, 1:-1].contiguous()
