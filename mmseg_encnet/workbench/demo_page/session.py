"""The data of one labelled photograph, with which it can be labelled again without the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from mmseg_encnet.datasets.image_sizes import check_pixels, stored_size
from mmseg_encnet.datasets.loading import image_backend
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ScoreMap, absent_classes
from mmseg_encnet.predicting import LoadedImage, Segmentor
from mmseg_encnet.visualization.context_sheet import ContextPrediction

LONGEST_SIDE = 1024
SHORTEST_SIDE = 32


def read_photograph(path: str | Path, segmentor: Segmentor) -> LoadedImage:
    """Read an image file as the model does, and shrink it to :data:`LONGEST_SIDE` if it is larger.

    Args:
        path: The file.
        segmentor: The model.

    Raises:
        UserError: The file cannot be decoded, has too many pixels, or one side is too short.
    """
    name = Path(path).name
    size = stored_size(path, image_backend(segmentor.pipeline.transforms))
    if size is not None:
        check_pixels(name, size, segmentor.max_pixels, 'choose another photograph')
    try:
        loaded = segmentor.load(path)
    except UserError as error:
        raise UserError(
            f'cannot decode {name}: it is damaged or not an image; choose another photograph, such '
            'as a JPEG or PNG file.'
        ) from error
    image = loaded.results['img']
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    if min(size) < SHORTEST_SIDE:
        shrunk = f' ({size[0]} x {size[1]} at a long side of {LONGEST_SIDE})' * (scale < 1)
        raise UserError(
            f'{name} is too small: got {width} x {height} pixels{shrunk}, expected at least '
            f'{SHORTEST_SIDE} on both sides; choose a larger photograph.'
        )
    if scale == 1:
        return loaded
    # Channel by channel: OpenCV averages over areas in at most four.
    channels = np.moveaxis(np.atleast_3d(image), 2, 0)
    shrunk = [cv2.resize(channel, size, interpolation=cv2.INTER_AREA) for channel in channels]
    image = np.stack(shrunk, axis=2) if image.ndim == 3 else shrunk[0]
    shape = dict(img_shape=image.shape[:2], ori_shape=image.shape[:2])
    return replace(loaded, results=dict(loaded.results, img=image, **shape))


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
        score_threshold: Threshold of a single score for two classes, otherwise None.
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


def label_photograph(segmentor: Segmentor, image: LoadedImage) -> tuple[Session, ContextPrediction]:
    """Label a photograph in one forward pass.

    Args:
        segmentor: The model.
        image: The photograph as the model loads it.

    Returns:
        The data for a threshold, and the prediction with its context.
    """
    sample = segmentor.predict(image, context_maps=True)
    context = ContextPrediction.from_data_sample(
        image.rgb(), sample, segmentor.classes, segmentor.palette
    )
    presence = score_map = None
    if 'presence' in sample:
        presence = sample.presence.detach().cpu()
        score_map = sample.score_map
    session = Session(segmentor.classes, segmentor.palette, score_map, presence, context.prediction)
    return session, context
