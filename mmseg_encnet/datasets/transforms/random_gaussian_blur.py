"""The blur of PyTorch-Encoding 0.5.0 (``encoding/datasets/base.py``, commit f891919)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS
from PIL import ImageFilter

from mmseg_encnet.datasets.transforms import native
from mmseg_encnet.datasets.transforms.through_pillow import through_pillow
from mmseg_encnet.errors import UserError


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur the image, but not its label, with a random radius.

    Pillow's approximation of the Gaussian blur is used, as in the original.

    Args:
        prob: Probability of a blur.
        radius_range: Bounds of the radius in pixels, which is uniform between them.

    Raises:
        UserError: ``prob`` is not a probability, or ``radius_range`` is not ascending from at
            least 0.
    """

    def __init__(self, prob: float = 0.5, radius_range: tuple[float, float] = (0.0, 1.0)) -> None:
        if not 0 <= prob <= 1:
            raise UserError(f'got prob={prob}, expected a probability between 0 and 1.')
        if not 0 <= radius_range[0] <= radius_range[1]:
            raise UserError(
                f'got radius_range={tuple(radius_range)}, expected two ascending radii of at '
                'least 0.'
            )
        self.prob = prob
        self.radius_range = radius_range

    @cache_randomness
    def _random_radius(self) -> float | None:
        """Return a radius, or None for no blur."""
        if np.random.rand() >= self.prob:
            return None
        return np.random.uniform(*self.radius_range)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Blur ``img`` of shape ``(H, W, C)`` or ``(H, W)``.

        OpenCV blurs values that are not uint8, with the radius as the standard deviation.
        """
        radius = self._random_radius()
        if radius is None:
            return results
        image = results['img']
        if image.dtype == np.uint8:
            blurred = native.blurred(image, radius)
            results['img'] = (
                through_pillow(image, lambda part: part.filter(ImageFilter.GaussianBlur(radius)))
                if blurred is None
                else blurred
            )
        elif radius > 0:
            results['img'] = cv2.GaussianBlur(results['img'], (0, 0), radius)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, radius_range={self.radius_range})'
