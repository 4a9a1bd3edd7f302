"""The scaling of PyTorch-Encoding 0.5.0 (``encoding/datasets/base.py``, commit f891919)."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Resize
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_encnet.datasets.transforms.channelwise_resize import ChannelwiseResize
from mmseg_encnet.errors import UserError


@TRANSFORMS.register_module()
class RandomShortSideResize(BaseTransform):
    """Resize image and label so that the short side has a random length.

    The length is uniform over the integers between the bounds, which are included. The long side
    is rounded down, as in the original.

    Args:
        base_size: Length in pixels at scale 1.
        ratio_range: Bounds of the length, relative to ``base_size``.
        backend: What resizes: ``pillow``, as in the original, or ``cv2``.

    Raises:
        UserError: ``ratio_range`` is not ascending or its shortest length is less than a pixel.
    """

    def __init__(
        self,
        base_size: int,
        ratio_range: tuple[float, float] = (0.5, 2.0),
        backend: str = 'pillow',
    ) -> None:
        self.base_size = base_size
        self.ratio_range = ratio_range
        shortest, longest = self._bounds()
        if not 1 <= shortest <= longest:
            raise UserError(
                f'got base_size={base_size} and ratio_range={tuple(ratio_range)}, which allow '
                f'lengths from {shortest} to {longest}; expected ascending lengths of at least 1.'
            )
        resize = ChannelwiseResize if backend == 'pillow' else Resize
        self.resize = resize(scale=(1, 1), keep_ratio=False, backend=backend)

    def _bounds(self) -> tuple[int, int]:
        shortest, longest = (int(self.base_size * ratio) for ratio in self.ratio_range)
        return shortest, longest

    @cache_randomness
    def _random_length(self) -> int:
        shortest, longest = self._bounds()
        return int(np.random.randint(shortest, longest + 1))

    def draw_size(self, height: int, width: int) -> tuple[int, int]:
        """Draw a random size, and return width and height, as the toolbox orders them."""
        short = self._random_length()
        if height > width:
            return short, int(height * short / width)
        return int(width * short / height), short

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Resize ``img`` (bilinear) and, if present, ``gt_seg_map`` (nearest)."""
        self.resize.scale = self.draw_size(*results['img'].shape[:2])
        return self.resize(results)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(base_size={self.base_size}, '
            f'ratio_range={self.ratio_range}, backend={self.resize.backend!r})'
        )
