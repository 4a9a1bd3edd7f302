"""The data of a context sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization.class_colours import is_ignored


@dataclass(frozen=True)
class ContextPrediction:
    """The prediction for one image, with the context; fields that the model lacks are None.

    Attributes:
        image: RGB image ``(H, W, 3)`` uint8.
        prediction: Class indices ``(H, W)``.
        classes: Class names by index.
        palette: RGB colours by index.
        truth: Class indices ``(H, W)``; values outside the classes are ignored.
        presence: Probability ``(num_classes,)`` that each class is present.
        gate: The gate gamma ``(channels,)``.
        channels: Indices ``(n,)`` of the channels in ``channel_maps``: the first half has the
            strongest gates, the second half the weakest.
        channel_maps: Features ``(n, H, W)`` of these channels.
        assignments: Soft assignments ``(num_codes, H, W)`` of pixels to codewords.
        num_windows: Number of windows in which the image was evaluated.

    Raises:
        UserError: The maps differ in size.
    """

    image: np.ndarray
    prediction: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    truth: np.ndarray | None = None
    presence: np.ndarray | None = None
    gate: np.ndarray | None = None
    channels: np.ndarray | None = None
    channel_maps: np.ndarray | None = None
    assignments: np.ndarray | None = None
    num_windows: int = 1

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        for name, value in (
            ('prediction', self.prediction),
            ('ground truth', self.truth),
            ('channel maps', self.channel_maps),
            ('assignments', self.assignments),
        ):
            if value is not None and value.shape[-2:] != size:
                raise UserError(
                    f'{name} must have the size of the image, got {value.shape[-2]}x'
                    f'{value.shape[-1]} (height x width), expected {size[0]}x{size[1]}; pass the '
                    'image in its original size and load annotations after resizing.'
                )

    @classmethod
    def from_data_sample(
        cls,
        image: np.ndarray,
        data_sample: Any,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
    ) -> ContextPrediction:
        """Return the prediction in a ``SegDataSample``.

        Args:
            image: RGB image ``(H, W, 3)`` uint8 in its original size.
            data_sample: Has ``pred_sem_seg``; may have ``gt_sem_seg`` and the fields that
                ``ContextEncoderDecoder`` adds.
            classes: Class names by index.
            palette: RGB colours by index.

        Raises:
            UserError: The maps differ in size.
        """

        def field(name: str) -> np.ndarray | None:
            value = data_sample.get(name)
            value = getattr(value, 'data', value)
            kept = value is None or isinstance(value, np.ndarray)
            return value if kept else value.detach().cpu().numpy()

        truth, score_map = field('gt_sem_seg'), data_sample.get('score_map')
        return cls(
            image,
            field('pred_sem_seg')[0],
            classes,
            palette,
            truth=None if truth is None else np.squeeze(truth, axis=0),
            presence=field('presence'),
            gate=field('gate'),
            channels=field('gated_channels'),
            channel_maps=field('gated_features'),
            assignments=field('assignments'),
            num_windows=len(score_map.windows) if score_map else 1,
        )

    @property
    def seams(self) -> str:
        """A sentence about the borders of windows in the maps; empty if there are none."""
        if self.num_windows == 1 or (self.channel_maps is None and self.assignments is None):
            return ''
        return (
            f'Evaluated in {self.num_windows} windows: straight seams in the maps of channels and '
            'codewords are borders of windows, not edges in the image.'
        )

    @cached_property
    def labelled(self) -> np.ndarray:
        """Pixels ``(H, W)`` whose ground truth is one of the classes, bool."""
        return ~is_ignored(self.truth, len(self.classes))

    @cached_property
    def wrong(self) -> np.ndarray:
        """Labelled pixels ``(H, W)`` whose prediction differs from the ground truth, bool."""
        return self.labelled & (self.prediction != self.truth)

    @cached_property
    def error_share(self) -> float:
        """Share of the labelled pixels that are predicted wrongly; NaN without labelled pixels."""
        labelled = np.count_nonzero(self.labelled)
        return np.count_nonzero(self.wrong) / labelled if labelled else float('nan')

    @cached_property
    def codewords(self) -> np.ndarray:
        """Codeword ``(H, W)`` with the strongest assignment of each pixel."""
        return self.assignments.argmax(axis=0)

    @cached_property
    def codeword_shares(self) -> np.ndarray:
        """Mean soft assignment ``(num_codes,)`` to each codeword; the shares sum to one."""
        return self.assignments.mean(axis=(1, 2))

    @cached_property
    def true_presence(self) -> np.ndarray:
        """Classes ``(num_classes,)`` that are present in the ground truth, bool."""
        counts = np.bincount(self.truth[self.labelled], minlength=len(self.classes))
        return counts > 0

    @cached_property
    def class_shares(self) -> np.ndarray:
        """Share ``(num_classes,)`` of the pixels predicted as each class."""
        return (
            np.bincount(self.prediction.ravel(), minlength=len(self.classes)) / self.prediction.size
        )
