"""What the page keeps of one person's photograph: enough to label it again without the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import absent_classes, suppress_absent
from mmseg_encnet.predicting import Segmentor
from mmseg_encnet.visualization.context_sheet import ContextPrediction

# A session keeps one score for each class and pixel: at this size, 150 classes take 470 MB.
LONGEST_SIDE = 1024
SHORTEST_SIDE = 32


def read_photograph(path: str | Path) -> np.ndarray:
    """Read an image file; what is longer than :data:`LONGEST_SIDE` is shrunk to it.

    Returns:
        RGB pixels ``(H, W, 3)`` uint8, upright.

    Raises:
        UserError: If it cannot be decoded, or one side is too short to be labelled.
    """
    name = Path(path).name
    try:
        image = mmcv.imfrombytes(Path(path).read_bytes(), channel_order='rgb')
    except cv2.error:
        image = None
    if image is None:
        raise UserError(
            f'{name} cannot be decoded: it is broken or no image; choose another '
            'photograph, such as a JPEG or a PNG.'
        )
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    if min(size) < SHORTEST_SIDE:
        shrunk = f', {size[0]} x {size[1]} once its long side is {LONGEST_SIDE}' * (scale < 1)
        raise UserError(
            f'{name} has {width} x {height} pixels{shrunk}, too few to be labelled: '
            f'both sides have to have {SHORTEST_SIDE} at least; choose a larger '
            'photograph.'
        )
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


# Compared by identity: arrays have no equality of their own.
@dataclass(frozen=True, eq=False)
class Session:
    """One labelled photograph.

    Attributes:
        classes: Class names by index.
        palette: RGB colours by index.
        scores: The network's class scores ``(num_classes, H, W)`` on the CPU, or None where they
            cannot be thresholded.
        presence: Probability ``(num_classes,)`` that each class occurs, or None if the model does
            not tell.
        unchanged: The network's labels ``(H, W)``, nothing removed.
    """

    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    scores: Tensor | None
    presence: Tensor | None
    unchanged: np.ndarray

    @property
    def can_remove(self) -> bool:
        """Whether a threshold on the presence can remove classes."""
        return self.scores is not None

    def removed(self, threshold: float) -> np.ndarray:
        """Which classes ``(num_classes,)`` may label no pixel at a threshold, bool."""
        if not self.can_remove:
            return np.zeros(len(self.classes), dtype=bool)
        return absent_classes(self.presence, threshold).numpy()

    def labels(self, threshold: float) -> np.ndarray:
        """Class indices ``(H, W)`` without the removed classes."""
        if not self.removed(threshold).any():
            return self.unchanged
        return suppress_absent(self.scores, self.presence, threshold).argmax(dim=0).numpy()


def label_photograph(segmentor: Segmentor, image: np.ndarray) -> tuple[Session, ContextPrediction]:
    """Label a photograph, in one forward pass.

    Args:
        segmentor: The model.
        image: RGB pixels ``(H, W, 3)`` uint8.

    Returns:
        What to keep, and all that the model told.
    """
    sample = segmentor.predict(np.ascontiguousarray(image[..., ::-1]), context_maps=True)
    context = ContextPrediction.from_data_sample(
        image, sample, segmentor.classes, segmentor.palette
    )
    presence = scores = None
    if 'presence' in sample:
        presence = sample.presence.detach().cpu()
        # A network with one score for two classes has none to remove.
        if len(sample.seg_logits.data) == len(presence):
            scores = sample.seg_logits.data.detach().cpu()
    session = Session(segmentor.classes, segmentor.palette, scores, presence, context.prediction)
    return session, context
