"""TIFF files with any number of channels, in the order of the file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.registry import TRANSFORMS

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require


@TRANSFORMS.register_module()
class LoadImageFromTIFF(LoadImageFromFile):
    """Load a TIFF or GeoTIFF file as it is stored: all channels, their order and data type.

    Channels can be stored pixel by pixel or one after the other, also as pages of one size.
    ``LoadImageFromFile`` with OpenCV exchanges the first and third of three or four channels; with
    ``imdecode_backend='tifffile'`` it returns channels that are stored one after the other as the
    first axis. Needs the extra ``tiff``.

    Args:
        backend_args: Arguments of the file backend, see :class:`mmcv.transforms.LoadImageFromFile`.

    The pixels ``img`` are ``(H, W, C)`` with the data type of the file; ``(H, W, 1)`` for a single
    channel.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        super().__init__(
            color_type='unchanged', imdecode_backend='tifffile', backend_args=backend_args
        )
        require('tifffile', 'tiff')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load ``img_path``.

        Raises:
            UserError: The content is no image.
        """
        import tifffile

        path = results['img_path']
        with tifffile.TiffFile(io.BytesIO(fileio.get(path, self.backend_args))) as file:
            image = _channels_last(file.series[0].asarray(), file.series[0].axes, path)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def _channels_last(image: np.ndarray, axes: str, path: str) -> np.ndarray:
    """Return ``(H, W, C)`` from axes such as ``YXS`` (samples), ``SYX`` or ``QYX`` (pages)."""
    if image.ndim == 2 and axes == 'YX':
        return image[..., None]
    if image.ndim == 3 and 'Y' in axes and 'X' in axes:
        height, width = axes.index('Y'), axes.index('X')
        return np.ascontiguousarray(image.transpose(height, width, 3 - height - width))
    raise UserError(
        f'{path} has the axes {axes} of shape {image.shape}, expected one image with channels; '
        'export its bands as one image.'
    )
