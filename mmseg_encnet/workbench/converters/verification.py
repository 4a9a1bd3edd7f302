"""Verifying a converted data set through the configs that use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmseg.registry import DATASETS
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.labels import image_size, read_label, run_parallel
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics, class_table

_LOADERS = ('train', 'val')


@dataclass(frozen=True)
class SplitCounts:
    """Images and pixels in one split of one config.

    Args:
        config: Name of the config.
        split: ``'train'`` or ``'val'``.
        published: Published number of images, None if it is unknown.
        statistics: Statistics of the labels, which have the size of their images.
    """

    config: str
    split: str
    published: int | None
    statistics: LabelStatistics


def verify(
    configs: Mapping[str, tuple[int | None, int | None]], data_root: Path, jobs: int
) -> list[SplitCounts]:
    """Read every label in the splits of some configs, and the size of its image.

    Args:
        configs: Names of shipped configs, each with the published number of training and validation
            images, None where it is unknown.
        data_root: Folder of the data set.
        jobs: Number of processes.

    Raises:
        UserError: A split is empty, an image or label is missing or damaged, the two differ in
            size, or a label contains a value that is neither a class of the config nor ignored.
    """
    splits = []
    for name, counts in configs.items():
        cfg = load_config(name)
        for split, published in zip(_LOADERS, counts):
            dataset = _dataset(cfg, data_root, split)
            pairs = [
                (Path(entry['img_path']), Path(entry['seg_map_path']))
                for entry in dataset.load_data_list()
            ]
            if not pairs:
                raise UserError(
                    f'{data_root} contains no image for the {split} split of {name}; delete '
                    f'{data_root} and convert again.'
                )
            splits.append((name, split, published, dataset, pairs))
    unique = {pair for *_, pairs in splits for pair in pairs}
    reading = run_parallel(_read_pair, unique, jobs)
    histograms = dict(tqdm(reading, total=len(unique), desc='verifying', unit='img'))
    return [
        SplitCounts(
            name,
            split,
            published,
            _statistics(dataset, {label: histograms[image, label] for image, label in pairs}),
        )
        for name, split, published, dataset, pairs in splits
    ]


def table(counts: list[SplitCounts]) -> str:
    """Return a table of the images in every split and of the classes of the first config."""
    width = max(len(count.config) for count in counts)
    lines = [f'{"config":{width}}  split   images  labels  published']
    for count in counts:
        images = count.statistics.images
        published = '-' if count.published is None else f'{count.published:,}'
        differs = '' if count.published in (None, images) else '  differs'
        lines.append(
            f'{count.config:{width}}  {count.split:5}  {images:7,} {images:7,} '
            f'{published:>10}{differs}'
        )
    first = [count for count in counts if count.config == counts[0].config]
    classes = class_table({count.split: count.statistics for count in first})
    return '\n'.join([*lines, '', *classes])


def _dataset(cfg: Config, data_root: Path, split: str):
    """Build the data set of a config's split without reading its list of images."""
    settings = dict(cfg[f'{split}_dataloader'].dataset)
    settings.update(data_root=str(data_root), pipeline=[], lazy_init=True)
    prefix = dict(settings.get('data_prefix', {}))
    missing = [
        path
        for path in (*prefix.values(), settings.get('ann_file', ''))
        if path and not (data_root / path).exists()
    ]
    if missing:
        raise UserError(
            f'{data_root / missing[0]} of the {split} split is missing; delete {data_root} and '
            'convert again.'
        )
    return DATASETS.build(settings)


def _read_pair(pair: tuple[Path, Path]) -> tuple[tuple[Path, Path], np.ndarray]:
    """Count each value from 0 to 255 in the label of an image."""
    image, label_path = pair
    size = image_size(image)
    label = read_label(label_path)
    if label.shape != size:
        raise UserError(
            f'the label {label_path} has {label.shape[1]} x {label.shape[0]} pixels, expected '
            f'{size[1]} x {size[0]} as in its image {image}; delete both and convert again.'
        )
    if label.dtype != np.uint8:
        raise UserError(
            f'the label {label_path} has values of type {label.dtype}, expected uint8; delete it '
            'and convert again.'
        )
    return pair, np.bincount(label.ravel(), minlength=256)


def _statistics(dataset: Any, histograms: dict[Path, np.ndarray]) -> LabelStatistics:
    classes = dataset.metainfo['classes']
    # With reduce_zero_label the value 0 is ignored and classes start at 1.
    first = int(dataset.reduce_zero_label)
    last = first + len(classes) - 1
    unknown = np.ones(256, bool)
    unknown[[0, *range(first, last + 1), dataset.ignore_index]] = False
    counts = []
    for label, histogram in histograms.items():
        wrong = np.flatnonzero(histogram * unknown)
        if len(wrong):
            raise UserError(
                f'the label {label} contains the value {wrong[0]}, expected 0 to {last} or '
                f'{dataset.ignore_index}; delete it and convert again.'
            )
        of_classes = histogram[first : last + 1]
        counts.append(np.append(of_classes, histogram.sum() - of_classes.sum()))
    return LabelStatistics.collect(classes, counts)
