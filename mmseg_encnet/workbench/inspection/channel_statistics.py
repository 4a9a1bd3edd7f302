"""Values of the channels of images, from which to normalise them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch.utils.data import Dataset
from tqdm import tqdm

from mmseg_encnet.datasets.checked import CheckedPipeline, build_checked_dataset
from mmseg_encnet.datasets.loading import in_rgb_order
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.formatting import json_entries
from mmseg_encnet.workbench.inspection.split import InspectedSplit, reading_loader

PERCENTILES = (1, 50, 99)
NORMALISATION = 'normalisation.py'
CHANNELS = 'channels.json'
# Pixels from which percentiles are computed, at most, of each image and of all.
_SAMPLED = 4096
_SAMPLED_IN_ALL = 2**22
_CONFIG = """\
# Measured by tools/analysis_tools/dataset_stats.py on {images} images of the {split} split. With
# this file among the bases of a config:
# model = dict(
#     data_preprocessor=dict(
#         type='ChannelsPreProcessor', bgr_to_rgb={bgr_to_rgb}, **_base_.normalisation
#     )
# )
normalisation = dict(
    mean={mean},
    std={std},
)
"""


@dataclass(frozen=True)
class ImageMoments:
    """The values of one image, by channel.

    Attributes:
        count: Finite values, ``(C,)`` int64.
        mean: Their mean, ``(C,)``.
        squares: Sum of the squared distances from the mean, ``(C,)``.
        low, high: Smallest and largest value, ``(C,)``.
        sample: Values of some pixels, ``(C, n)``, with NaN where they are not finite.
        dtype: Data type of the image.
        left_out: Values that are not finite.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray
    dtype: str
    left_out: int

    @classmethod
    def of(cls, image: np.ndarray, sampled: int, seed: int) -> ImageMoments:
        """Measure an image ``(H, W)`` or ``(H, W, C)`` and draw ``sampled`` of its pixels."""
        dtype = str(image.dtype)
        pixels = (
            np.atleast_3d(image).reshape(-1, np.atleast_3d(image).shape[2]).T.astype(np.float64)
        )
        finite = np.isfinite(pixels)
        count = finite.sum(axis=1)
        # Also for a channel without finite values.
        mean = np.where(finite, pixels, 0).sum(axis=1) / np.maximum(count, 1)
        squares = (np.where(finite, pixels - mean[:, None], 0) ** 2).sum(axis=1)
        chosen = np.random.default_rng(seed).integers(pixels.shape[1], size=sampled)
        if pixels.shape[1] <= sampled:
            chosen = np.arange(pixels.shape[1])
        return cls(
            count,
            mean,
            squares,
            np.where(finite, pixels, np.inf).min(axis=1),
            np.where(finite, pixels, -np.inf).max(axis=1),
            np.where(finite, pixels, np.nan)[:, chosen].astype(np.float32),
            dtype,
            int((~finite).sum()),
        )


@dataclass(frozen=True)
class ChannelStatistics:
    """The values of the images of a split, by channel in the order in which they are normalised.

    Attributes:
        split: Name of the split.
        images: Number of images.
        dtypes: Data types of the images.
        mean, std: ``(C,)``, over all pixels; std is the square root of the mean squared distance.
        low, high: Smallest and largest value, ``(C,)``.
        percentiles: ``(3, C)`` for ``PERCENTILES``, from a sample of pixels of every image.
        left_out: Number of values that are NaN or infinite, which are left out.
        bgr_to_rgb: Whether the data preprocessor has to reverse the channels as loaded.
    """

    split: str
    images: int
    dtypes: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    percentiles: np.ndarray
    left_out: int
    bgr_to_rgb: bool

    @classmethod
    def collect(
        cls, moments: Iterable[ImageMoments], split: str, bgr_to_rgb: bool
    ) -> ChannelStatistics:
        """Combine images with the same number of channels.

        The parallel variance of Chan, Golub and LeVeque (1983) does not lose the digits that the
        difference of large sums of squares would.
        """
        parts = list(moments)
        count: Any = 0
        mean: Any = 0.0
        squares: Any = 0.0
        for part in parts:
            total = np.maximum(count + part.count, 1)
            delta = part.mean - mean
            squares = squares + part.squares + delta**2 * count * part.count / total
            mean = mean + delta * part.count / total
            count = count + part.count
        order = slice(None, None, -1) if bgr_to_rgb else slice(None)
        sample = np.concatenate([part.sample for part in parts], axis=1)
        empty = np.flatnonzero(count == 0)
        if empty.size:
            raise UserError(
                f'channel {empty[0]} of the {split} images has no finite value; check the files.'
            )
        return cls(
            split,
            len(parts),
            tuple(sorted({part.dtype for part in parts})),
            mean[order],
            np.sqrt(squares / count)[order],
            np.min([part.low for part in parts], axis=0)[order],
            np.max([part.high for part in parts], axis=0)[order],
            np.nanpercentile(sample, PERCENTILES, axis=1)[:, order],
            sum(part.left_out for part in parts),
            bgr_to_rgb,
        )

    @property
    def warnings(self) -> list[str]:
        """Sentences about values that a training cannot use well."""
        sentences = []
        if self.left_out:
            sentences.append(
                f'{self.left_out:,} values are NaN or infinite; they are left out here, but they '
                'make the loss of a training NaN'
            )
        constant = np.flatnonzero(self.std == 0)
        if constant.size:
            sentences.append(
                f'channel {constant[0]} has the value {self.mean[constant[0]]:g} everywhere; its '
                'standard deviation is written as 1'
            )
        return sentences

    def text(self) -> str:
        """Return a table with a row for each channel."""
        head = ['channel', 'mean', 'std', 'min', *(f'{p} %' for p in PERCENTILES), 'max']
        columns = [self.mean, self.std, self.low, *self.percentiles, self.high]
        rows = [
            [str(index), *(f'{column[index]:.6g}' for column in columns)]
            for index in range(len(self.mean))
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows)]
        lines = [
            '  '.join(cell.rjust(width) for cell, width in zip(row, widths))
            for row in [head, *rows]
        ]
        return '\n'.join(lines)

    def write(self, folder: Path) -> None:
        """Write ``channels.json`` and ``normalisation.py``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = dict(
            split=self.split,
            images=self.images,
            dtypes=list(self.dtypes),
            mean=self.mean.tolist(),
            std=self.std.tolist(),
            min=self.low.tolist(),
            max=self.high.tolist(),
            percentiles={str(p): row.tolist() for p, row in zip(PERCENTILES, self.percentiles)},
            left_out=self.left_out,
            bgr_to_rgb=self.bgr_to_rgb,
        )
        (folder / CHANNELS).write_text(json_entries(content), encoding='utf-8')
        (folder / NORMALISATION).write_text(
            _CONFIG.format(
                images=self.images,
                split=self.split,
                bgr_to_rgb=self.bgr_to_rgb,
                mean=_rounded(self.mean),
                std=_rounded(np.where(self.std > 0, self.std, 1)),
            ),
            encoding='utf-8',
        )


class _Images(Dataset):
    """The images of a split as their pipeline loads them, before any other step."""

    def __init__(self, dataset: Any) -> None:
        self.places = [
            (leaf, pipeline, index)
            for leaf, pipeline in ((leaf, _loaders(leaf)) for leaf in leaf_datasets(dataset))
            for index in range(len(leaf))
        ]
        self.sampled = min(_SAMPLED, max(_SAMPLED_IN_ALL // max(len(self.places), 1), 1))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[str, ImageMoments]:
        leaf, pipeline, position = self.places[index]
        info = leaf.get_data_info(position)
        return info['img_path'], ImageMoments.of(pipeline(info)['img'], self.sampled, index)


def _loaders(leaf: Any) -> CheckedPipeline:
    steps = [step for step in leaf.pipeline.transforms if 'LoadImage' in type(step).__name__]
    if not steps:
        raise UserError(
            f'the pipeline of {type(leaf).__name__} loads no images; add '
            "dict(type='LoadImageFromFile')."
        )
    return CheckedPipeline(leaf, steps)


def measure_channels(cfg: Config, split: str, jobs: int) -> ChannelStatistics:
    """Read all images of a split, with a progress bar, and return the statistics of their channels.

    Args:
        cfg: A config with data loaders.
        split: ``'train'``, ``'val'`` or ``'test'``.
        jobs: Number of processes; with 1 this process reads.

    Raises:
        UserError: The data set cannot be opened, an image cannot be read, or two images differ in
            their number of channels.
    """
    inspected = InspectedSplit(cfg, split)
    dataset = build_checked_dataset(inspected.dataset_cfg)
    images = _Images(dataset)
    batches = reading_loader(images, jobs, batch_size=None)
    moments: list[ImageMoments] = []
    for path, moment in tqdm(batches, total=len(images), unit='image'):
        if moments and len(moment.mean) != len(moments[0].mean):
            raise UserError(
                f'image {path} has {len(moment.mean)} channels, the others have '
                f'{len(moments[0].mean)}; correct the files, or the loader of the pipeline.'
            )
        moments.append(moment)
    steps = next(iter(leaf_datasets(dataset))).pipeline.transforms
    three = len(moments[0].mean) == 3
    return ChannelStatistics.collect(
        moments, split, three and _reverses(inspected.preprocessor_cfg, steps)
    )


def _reverses(preprocessor: Any, steps: Sequence[Any]) -> bool:
    """Return whether the channels are reversed after loading and before the normalisation."""
    if preprocessor:
        return bool(preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr'))
    return not in_rgb_order(steps)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f'{value:.6g}') for value in values]
