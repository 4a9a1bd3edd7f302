"""Class scores at the size of an image, computed a few classes at a time.

The scores of all classes take gigabytes for a photograph: 7 GiB for 12 megapixels and 150 classes.
Every step from the output of the head to the size of the image (upsampling, averaging over windows,
cropping, mirroring, resizing) treats each class separately, so labels can be computed from a few
classes at a time, and are the same, bit for bit. The probabilities that test-time augmentation
averages also need a sum over the classes for each view, which is computed class by class. The sums
of many views take hundreds of megabytes too, so they are kept for a band of rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_encnet.models.labels import label_pixels
from mmseg_encnet.models.segmentors.windows import Window, average_maps
from mmseg_encnet.ops.interpolation import FEWEST_CHANNELS
from mmseg_encnet.ops.upsampled_labels import Resizing, upsampled_labels

# Number of scores to hold at a time.
PART_BYTES = 2**27
# Sums over the classes to hold at a time, for all views.
LOG_SUM_BYTES = 3 * 2**27
# Vectorised functions may round the last few of a number of elements differently.
_BAND_ROWS = 16
_ALL = slice(None)


def wants_scores(segmentor: BaseSegmentor, meta: Mapping[str, Any] | None) -> bool:
    """Return whether a prediction gets ``seg_logits``.

    Args:
        segmentor: Segmentor whose ``test_cfg.keep_seg_logits`` is the default; True if not set.
        meta: Metainfo of the image, whose ``keep_seg_logits`` takes precedence.
    """
    return (meta or {}).get(
        'keep_seg_logits', (segmentor.test_cfg or {}).get('keep_seg_logits', True)
    )


def class_parts(num_classes: int, size: Sequence[int]) -> list[slice]:
    """Divide classes into ranges whose scores ``(c, H, W)`` take ``PART_BYTES`` each."""
    wanted = -(-num_classes * 4 * size[0] * size[1] // PART_BYTES)
    count = max(min(wanted, num_classes // FEWEST_CHANNELS), 1)
    return [
        slice(int(classes[0]), int(classes[-1]) + 1)
        for classes in torch.arange(num_classes).tensor_split(count)
    ]


def label_by_parts(
    scores: Callable[[slice], Tensor],
    num_classes: int,
    size: Sequence[int],
    absent: Tensor | None = None,
) -> Tensor:
    """Return the class with the largest score of each pixel, as ``argmax`` over all classes does.

    Args:
        scores: Returns the scores ``(c, H, W)`` of a range of classes.
        num_classes: Number of classes.
        size: Height and width of the scores that are computed at a time; usually H and W.
        absent: Classes ``(num_classes,)`` that no pixel is labelled with, bool.

    Returns:
        ``(1, H, W)``, int64.
    """
    best = labels = None
    parts = class_parts(num_classes, size)
    for classes in parts:
        part = scores(classes)
        if absent is not None:
            part = part.masked_fill(absent[classes, None, None], float('-inf'))
        if len(parts) == 1:
            return part.argmax(dim=0, keepdim=True)
        for index, score in enumerate(part, classes.start):
            if best is None or labels is None:
                best, labels = score.clone(), torch.zeros_like(score, dtype=torch.int16)
                continue
            # As in argmax, the first of equal scores wins, and NaN exceeds all other values.
            better = (score <= best).logical_not_().logical_and_(best == best)
            torch.maximum(score, best, out=best)
            labels.masked_fill_(better, index)
        # Freed before the next part is computed.
        del part, score
    assert labels is not None, 'no classes'
    return labels[None].long()


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """The class scores of one image in the resolution of the head.

    Attributes:
        logits: For each window ``(1, num_classes, h, w)``.
        windows: Windows that cover the network's input.
        input_size: Height and width of the network's input.
        meta: Metainfo of the image, by which padding, mirroring and resizing are undone as in the
            toolbox; None leaves the size of the network's input.
        align_corners: How to resize.
        threshold: Probability above which a single score is class 1.
    """

    logits: Sequence[Tensor]
    windows: Sequence[Window]
    input_size: Sequence[int]
    meta: Mapping[str, Any] | None
    align_corners: bool
    threshold: float | None = None

    @property
    def num_classes(self) -> int:
        """Number of scores per pixel."""
        return self.logits[0].shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the scores."""
        height, width = (self.input_size if self.meta is None else self.meta['ori_shape'])[:2]
        return height, width

    def scores(self, classes: slice = _ALL) -> Tensor:
        """Return the scores ``(c, H, W)`` of a range of classes."""
        maps = average_maps(
            self.windows,
            (
                Resizing(window.size).apply(logits[:, classes], self.align_corners)
                for logits, window in zip(self.logits, self.windows)
            ),
            self.input_size,
        )
        first, *others = self._resizings()
        maps = first.cut(maps)
        for resizing in others:
            maps = resizing.apply(maps, self.align_corners)
        return maps[0]

    def labels(self, absent: Tensor | None = None) -> Tensor:
        """Return the labels ``(1, H, W)``, int64; see :func:`label_by_parts`."""
        if self.num_classes == 1:
            return label_pixels(self.scores().sigmoid(), self.threshold, absent)
        if len(self.windows) == 1:
            (logits,) = self.logits
            labels = upsampled_labels(
                logits[0], self._resizings(), align_corners=self.align_corners, absent=absent
            )
            if labels is not None:
                return labels[None]
        return label_by_parts(self.scores, self.num_classes, self.size, absent)

    def _resizings(self) -> list[Resizing]:
        """Return how scores get the size of the network's input and then that of the image."""
        height, width = self.input_size
        if self.meta is None:
            return [Resizing((height, width))]
        # BaseSegmentor.postprocess_result also takes the argmax, which takes most of its time.
        padding = self.meta.get('img_padding_size', self.meta.get('padding_size', [0] * 4))
        left, right, top, bottom = padding
        direction = self.meta['flip_direction'] if self.meta.get('flip') else None
        return [
            Resizing(
                (height, width),
                slice(top, height - bottom),
                slice(left, width - right),
                flip_rows=direction not in (None, 'horizontal'),
                flip_columns=direction == 'horizontal',
            ),
            Resizing(self.size),
        ]


class MergedScoreMap:
    """The logarithm of the mean of the class probabilities of several views of an image.

    Logarithms prevent probabilities from underflowing to zero, where classes would tie.

    Args:
        views: At least one score map, all of the same size and number of classes, which is at
            least 2.
    """

    def __init__(self, views: Sequence[ScoreMap]) -> None:
        self.views = views
        self.num_classes, self.size = views[0].num_classes, views[0].size

    def scores(self) -> Tensor:
        """Return the scores ``(num_classes, H, W)``, at least float32."""
        return self._merged(_ALL, None, _ALL)

    def labels(self, absent: Tensor | None = None) -> Tensor:
        """Return the labels ``(1, H, W)``, int64; see :func:`label_by_parts`."""
        bands = [self._label_band(rows, absent) for rows in self._bands()]
        return bands[0] if len(bands) == 1 else torch.cat(bands, dim=1)

    def _label_band(self, rows: slice, absent: Tensor | None) -> Tensor:
        scores = partial(self._merged, rows, self._log_sums(rows))
        return label_by_parts(scores, self.num_classes, self.size, absent)

    def _bands(self) -> list[slice]:
        """Divide the rows into ranges for which the sums of all views take ``LOG_SUM_BYTES``."""
        height, width = self.size
        if len(class_parts(self.num_classes, self.size)) == 1:
            return [_ALL]
        # Upsampling, which cannot be limited to some rows, is repeated for each band.
        count = -(-len(self.views) * 4 * height * width // LOG_SUM_BYTES)
        rows = _BAND_ROWS * -(-height // (count * _BAND_ROWS))
        return [slice(start, start + rows) for start in range(0, height, rows)]

    def _log_sums(self, rows: slice) -> list[Tensor] | None:
        """Return the logarithms of the sums over the classes ``(h, W)`` of each view.

        None if all classes are computed at a time.
        """
        parts = class_parts(self.num_classes, self.size)
        if len(parts) == 1:
            return None

        def scores(view: ScoreMap) -> Iterator[Tensor]:
            for classes in parts:
                yield view.scores(classes)[:, rows]

        return [_log_sum(partial(scores, view)) for view in self.views]

    def _merged(self, rows: slice, log_sums: Sequence[Tensor] | None, classes: slice) -> Tensor:
        """Return the scores ``(c, h, W)`` of ranges of rows and classes.

        Args:
            rows: The rows.
            log_sums: What :meth:`_log_sums` returns; None if the range includes all classes.
            classes: The classes.
        """
        merged = None
        for index, view in enumerate(self.views):
            part = view.scores(classes)[:, rows]
            log_sum = _log_sum(partial(iter, (part,))) if log_sums is None else log_sums[index]
            part = part.to(log_sum.dtype).sub_(log_sum)
            if merged is None:
                # A band alone, without the memory of the other rows.
                merged = part.contiguous()
            else:
                torch.logaddexp(merged, part, out=merged)
            # Freed before the next part is computed.
            del part
        assert merged is not None, 'no views'
        return merged.sub_(math.log(len(self.views)))


def _log_sum(parts: Callable[[], Iterable[Tensor]]) -> Tensor:
    """Return the logarithm of the sum over the classes of the exponentials of their scores.

    Args:
        parts: Returns the scores of all classes in consecutive ranges ``(c, H, W)``.

    Returns:
        ``(H, W)``, at least float32; the same, bit for bit, for any division into parts.
    """
    # Unlike a loop, map() does not keep a part while the next one is computed.
    peak = reduce(torch.maximum, map(partial(torch.amax, dim=0), parts()))
    peak = peak.to(torch.promote_types(peak.dtype, torch.float32))
    total = torch.zeros_like(peak)
    for part in parts():
        for score in part:
            total += (score - peak).exp_()
        del part, score
    return total.log_().add_(peak)
