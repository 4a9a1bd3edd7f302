"""The data of one labelled photograph, with which it can be labelled again without the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ScoreMap, absent_classes
from mmseg_encnet.predicting import Segmentor
from mmseg_encnet.visualization.context_sheet import ContextPrediction

LONGEST_SIDE = 1024
SHORTEST_SIDE = 32


def read_photograph(path: str | Path) -> np.ndarray:
    """Read an image file and shrink it to :data:`LONGEST_SIDE` if it is larger.

    Returns:
        RGB image ``(H, W, 3)`` uint8, upright according to its EXIF orientation.

    Raises:
        UserError: The file cannot be decoded, or one side is too short.
    """
    name = Path(path).name
    try:
        image = mmcv.imfrombytes(Path(path).read_bytes(), channel_order='rgb')
    except cv2.error:
        image = None
    if image is None:
        raise UserError(
            f'cannot decode {name}: it is damaged or not an image; choose another photograph, such '
            'as a JPEG or PNG file.'
        )
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    if min(size) < SHORTEST_SIDE:
        shrunk = f' ({size[0]} x {size[1]} at a long side of {LONGEST_SIDE})' * (scale < 1)
        raise UserError(
            f'{name} is too small: got {width} x {height} pixels{shrunk}, expected at least '
            f'{SHORTEST_SIDE} on both sides; choose a larger photograph.'
        )
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


# Compared by identity, because arrays do not compare to a single bool.
@dataclass(frozen=True, eq=False)
class Session:
    """One labelled photograph.

    Attributes:
        classes: Class names by index.
        palette: RGB colours by index.
        score_map: Class scores in the resolution of the head, or None if no class can be removed.
        presence: Probability ``(num_classes,)`` that each class is present, or None if the model
            does not predict it.
        unchanged: Labels ``(H, W)`` without a threshold.
    """

    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    score_map: ScoreMap | None
    presence: Tensor | None
    unchanged: np.ndarray

    @property
    def can_remove(self) -> bool:
        """Whether a presence threshold can remove classes."""
        return self.score_map is not None

    def removed(self, threshold: float) -> np.ndarray:
        """Return which classes ``(num_classes,)`` a threshold removes, bool."""
        if not self.can_remove:
            return np.zeros(len(self.classes), dtype=bool)
        return absent_classes(self.presence, threshold).numpy()

    def labels(self, threshold: float) -> np.ndarray:
        """Return class indices ``(H, W)`` without the classes that a threshold removes."""
        if self.score_map is None or not self.removed(threshold).any():
            return self.unchanged
        absent = absent_classes(self.presence, threshold).to(self.score_map.logits[0].device)
        return self.score_map.labels(absent)[0].cpu().numpy()


def label_photograph(segmentor: Segmentor, image: np.ndarray) -> tuple[Session, ContextPrediction]:
    """Label a photograph in one forward pass.

    Args:
        segmentor: The model.
        image: RGB image ``(H, W, 3)`` uint8.

    Returns:
        The data for a threshold, and the prediction with its context.
    """
    sample = segmentor.predict(np.ascontiguousarray(image[..., ::-1]), context_maps=True)
    context = ContextPrediction.from_data_sample(
        image, sample, segmentor.classes, segmentor.palette
    )
    presence = score_map = None
    if 'presence' in sample:
        presence = sample.presence.detach().cpu()
        # With a single score for two classes no class can be removed.
        if sample.score_map.num_classes == len(presence):
            score_map = sample.score_map
    session = Session(segmentor.classes, segmentor.palette, score_map, presence, context.prediction)
    return session, context
