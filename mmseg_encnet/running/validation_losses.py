"""The losses of single images, and what each of them was divided by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.losses import CrossEntropyLoss
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.models.losses import SemanticEncodingLoss
from mmseg_encnet.models.losses.over_processes import within_process
from mmseg_encnet.models.losses.sync_cross_entropy_loss import SyncCrossEntropyLoss
from mmseg_encnet.models.parts import heads_of
from mmseg_encnet.resuming.random_states import seeded, states_kept

# In the names of losses.
_PREFIXES = {'decode_head': 'decode', 'auxiliary_head': 'aux'}


class Term(NamedTuple):
    """A loss of an image.

    Attributes:
        value: The loss.
        weight: Pixels, or images, over which it is an average.
    """

    value: float
    weight: float


def losses_of_images(
    model: nn.Module, batch: Any, positions: Iterable[int]
) -> Iterator[list[dict[str, Term]]]:
    """Yield the losses of each image of a batch, one set for each of its windows.

    A model in evaluation mode is not changed, and neither are the random states. With
    ``test_cfg.mode='slide'`` an image is divided into windows of at most ``crop_size`` that do not
    overlap; otherwise the whole image is one window.

    Args:
        model: A segmentor of the toolbox.
        batch: A batch of the validation.
        positions: Position of each image in the validation set, from which losses that draw random
            numbers are seeded.
    """
    data = model.data_preprocessor(batch, False)
    for image, sample, position in zip(data['inputs'], data['data_samples'], positions):
        label = _padded_label(sample, tuple(image.shape[-2:]))
        windows = _windows(image, label, getattr(model, 'test_cfg', None))
        with torch.no_grad(), within_process(), states_kept(), seeded(position):
            losses = [_losses(model, part, sample, part_label) for part, part_label in windows]
        yield losses


def _losses(
    model: nn.Module, image: Tensor, sample: SegDataSample, label: Tensor
) -> dict[str, Term]:
    sample = sample.clone()
    sample.set_data(dict(gt_sem_seg=PixelData(data=label)))
    found = model(image[None], [sample], mode='loss')
    heads = {}
    for entry, head in heads_of(model):
        kind, *index = entry.split('.')
        heads['_'.join([_PREFIXES[kind], *index])] = head
    terms = {}
    for name, value in found.items():
        if 'loss' not in name:
            continue
        prefix, _, key = name.rpartition('.')
        weight = _divisor(heads.get(prefix), key, label)
        values = value if isinstance(value, (list, tuple)) else [value]
        total = sum(float(part.mean()) for part in values) if weight else 0.0
        terms[name] = Term(total, weight)
    return terms


def _divisor(head: nn.Module | None, key: str, label: Tensor) -> float:
    """Return the number of pixels, their weights or images by which a loss was divided."""
    ignored = getattr(head, 'ignore_index', 255)
    labelled = label[label != ignored]
    losses = getattr(head, 'loss_decode', None)
    for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
        if isinstance(loss, CrossEntropyLoss) and loss.loss_name == key:
            if not loss.use_sigmoid and loss.class_weight is not None:
                return float(torch.as_tensor(loss.class_weight)[labelled.cpu()].double().sum())
            if isinstance(loss, SyncCrossEntropyLoss) or loss.avg_non_ignore:
                return float(labelled.numel())
            return float(label.numel())
    # One image. Without labels, only losses that count such images are defined.
    counts_unlabelled = head is not None and any(
        isinstance(part, SemanticEncodingLoss) and not part.skip_unlabelled
        for part in head.children()
    )
    return float(bool(labelled.numel()) or (key == 'loss_se' and counts_unlabelled))


def _padded_label(sample: SegDataSample, size: tuple[int, ...]) -> Tensor:
    """Return the label ``(1, h, w)``, padded in the proportion in which the image was padded.

    Args:
        sample: Its label may have another size than the image.
        size: Height and width of the image with padding.
    """
    label = sample.gt_sem_seg.data
    left, right, top, bottom = sample.metainfo.get('img_padding_size', (0, 0, 0, 0))
    if not (left or right or top or bottom):
        return label
    down = label.shape[-2] / (size[0] - top - bottom)
    across = label.shape[-1] / (size[1] - left - right)
    padding = [round(left * across), round(right * across), round(top * down), round(bottom * down)]
    return F.pad(label, padding, value=255)


def _windows(image: Tensor, label: Tensor, test_cfg: Any) -> Iterator[tuple[Tensor, Tensor]]:
    if (test_cfg or {}).get('mode') != 'slide':
        yield image, label
        return
    height, width = image.shape[-2:]
    down, across = label.shape[-2] / height, label.shape[-1] / width
    for top, bottom in _parts(height, test_cfg['crop_size'][0]):
        for left, right in _parts(width, test_cfg['crop_size'][1]):
            rows = slice(round(top * down), round(bottom * down))
            columns = slice(round(left * across), round(right * across))
            yield image[:, top:bottom, left:right], label[:, rows, columns]


def _parts(length: int, longest: int) -> list[tuple[int, int]]:
    """Divide a length into parts that differ by at most one."""
    count = -(-length // longest)
    edges = [index * length // count for index in range(count + 1)]
    return list(pairwise(edges))
