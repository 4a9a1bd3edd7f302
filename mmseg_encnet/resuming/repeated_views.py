"""A fixed number of random views of each image."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmseg.registry import TRANSFORMS

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.random_states import seeded


@TRANSFORMS.register_module()
class RepeatedViews(BaseTransform):
    """Apply random transforms so that each image has only a few different results.

    Each call chooses one of ``num_views`` views; the random numbers of the transforms depend only
    on the path of the image and the view. With ``FeatureCacheHook`` a frozen backbone then computes
    ``num_views`` times the features of each image in a whole training.

    Args:
        transforms: Configs of the transforms.
        num_views: Number of views of each image.

    Raises:
        UserError: ``num_views`` is not positive.
    """

    def __init__(self, transforms: list[dict[str, Any]], num_views: int) -> None:
        if num_views < 1:
            raise UserError(f'num_views of RepeatedViews must be positive, got {num_views}.')
        self.transforms = Compose(transforms)
        self.num_views = num_views

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        view = int(np.random.randint(self.num_views))
        with seeded(zlib.crc32(str(results.get('img_path')).encode()), view):
            return self.transforms(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms}, num_views={self.num_views})'
