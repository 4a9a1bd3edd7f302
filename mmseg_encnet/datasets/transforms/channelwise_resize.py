"""Resizing with Pillow that does not take the fourth channel as transparency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmcv.image.geometric import pillow_interp_codes, rescale_size
from mmcv.transforms import Pad, RandomResize, Resize
from mmseg.registry import TRANSFORMS

from mmseg_encnet.datasets.transforms.through_pillow import through_pillow
from mmseg_encnet.errors import UserError


@TRANSFORMS.register_module()
class ChannelwiseResize(Resize):
    """The toolbox's ``Resize`` with Pillow for images of any number of channels and depth.

    ``Resize(backend='pillow')`` multiplies the channels of a four-channel image by the last one,
    and cannot resize 16-bit images; here every channel is resized separately. For 8-bit images of
    one or three channels, the results are identical.

    Args:
        interpolation: One of Pillow's filters: ``bilinear``, ``nearest``, ``bicubic``, ``box``,
            ``lanczos`` or ``hamming``.
        backend: Only ``pillow``.
        **kwargs: Other arguments of :class:`mmcv.transforms.Resize`.

    Raises:
        UserError: ``interpolation`` or ``backend`` is not one of Pillow's.
    """

    def __init__(
        self, *args: Any, interpolation: str = 'bilinear', backend: str = 'pillow', **kwargs: Any
    ) -> None:
        super().__init__(*args, interpolation=interpolation, backend=backend, **kwargs)
        if backend != 'pillow':
            raise UserError(
                f"backend of ChannelwiseResize must be 'pillow', got {backend!r}; use Resize."
            )
        if interpolation not in pillow_interp_codes:
            raise UserError(
                f'unknown interpolation {interpolation!r}; choose one of '
                f'{", ".join(pillow_interp_codes)}.'
            )

    def _resize_img(self, results: dict[str, Any]) -> None:
        if results.get('img') is None:
            return
        image: np.ndarray = results['img']
        height, width = image.shape[:2]
        size = results['scale']
        if self.keep_ratio:
            size = rescale_size((width, height), size)
        code = pillow_interp_codes[self.interpolation]
        results['img'] = through_pillow(image, lambda part: part.resize(size, code))
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio


def check_channels(transform: Any, results: Any) -> None:
    """Check that a transform can process the channels of an image.

    Args:
        transform: A step of a pipeline.
        results: The results before it.

    Raises:
        UserError: The toolbox's ``Resize`` would resize two or four channels, or more than 8 bits,
            with Pillow; or ``Pad`` would pad more than four channels.
    """
    image = results.get('img') if isinstance(results, dict) else None
    if not isinstance(image, np.ndarray):
        return
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype == np.uint8 and channels in (1, 3):
        return
    for step in _steps(transform):
        if isinstance(step, Pad) and channels > 4:
            raise UserError(
                f'Pad cannot pad image {results.get("img_path")} with {channels} channels, because '
                'OpenCV pads at most four; remove Pad from the pipeline: the data preprocessor '
                'pads images to its size.'
            )
        if (
            isinstance(step, Resize)
            and not isinstance(step, ChannelwiseResize)
            and step.backend == 'pillow'
        ):
            problem = (
                f'takes the last of {channels} channels of image {results.get("img_path")} as '
                'transparency and darkens the others'
                if image.dtype == np.uint8 and channels in (2, 4)
                else f'cannot resize image {results.get("img_path")} with {channels} channel(s) of '
                f'{image.dtype}'
            )
            raise UserError(
                f"{type(step).__name__}(backend='pillow') {problem}; use type='ChannelwiseResize' "
                "(resize_type='ChannelwiseResize' of RandomResize), or backend='cv2'."
            )


def _steps(transform: Any) -> Iterator[Any]:
    """Yield a transform and those inside it."""
    if isinstance(transform, RandomResize):
        yield transform.resize
    yield transform
    for nested in ('transforms', 'subroutines'):
        parts = getattr(transform, nested, ())
        parts = getattr(parts, 'transforms', parts)
        for part in parts if isinstance(parts, (list, tuple)) else ():
            yield from _steps(part)
