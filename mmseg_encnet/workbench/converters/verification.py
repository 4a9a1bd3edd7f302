"""Verifying a converted data set through the configs that use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmseg.registry import DATASETS
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.labels import image_size, read_label, run_parallel

_LOADERS = ('train', 'val')


@dataclass(frozen=True)
class SplitCounts:
    """Images and pixels in one split of one config.

    Args:
        config: Name of the config.
        split: ``'train'`` or ``'val'``.
        images: Number of images, each with a label of the same size.
        published: Published number of images, None if it is unknown.
        classes: Names of the classes, by index.
        pixels: Number of pixels of each class, ``(classes,)`` int64.
        present_in: Number of images with at least one pixel of each class, ``(classes,)`` int64.
        ignored: Number of pixels that training ignores.
    """

    config: str
    split: str
    images: int
    published: int | None
    classes: tuple[str, ...]
    pixels: np.ndarray
    present_in: np.ndarray
    ignored: int


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
        splits += [
            (name, split, published, _dataset(cfg, data_root, split))
            for split, published in zip(_LOADERS, counts)
        ]
    pairs = {}
    for name, split, _, dataset in splits:
        entries = dataset.load_data_list()
        if not entries:
            raise UserError(
                f'{data_root} contains no image for the {split} split of {name}; delete '
                f'{data_root} and convert again.'
            )
        pairs[name, split] = [
            (Path(entry['img_path']), Path(entry['seg_map_path'])) for entry in entries
        ]
    unique = {pair: None for split in pairs.values() for pair in split}
    histograms = {}
    for pair, histogram in tqdm(
        run_parallel(_read_pair, unique, jobs), total=len(unique), desc='verifying', unit='img'
    ):
        histograms[pair] = histogram
    return [
        _count(
            name,
            split,
            published,
            dataset,
            {label: histograms[image, label] for image, label in pairs[name, split]},
        )
        for name, split, published, dataset in splits
    ]


def table(counts: list[SplitCounts]) -> str:
    """Return a table of the images in every split and of the classes of the first config."""
    width = max(len(count.config) for count in counts)
    lines = [f'{"config":{width}}  split   images  labels  published']
    for count in counts:
        published = '-' if count.published is None else f'{count.published:,}'
        differs = '' if count.published in (None, count.images) else '  differs'
        lines.append(
            f'{count.config:{width}}  {count.split:5}  {count.images:7,} '
            f'{count.images:7,} {published:>10}{differs}'
        )
    first = [count for count in counts if count.config == counts[0].config]
    width = max(len(name) for name in first[0].classes)
    lines += [
        '',
        f'{"class":{width + 4}}'
        + ''.join(f'  {count.split + " pixels":>12}  {"images":>7}' for count in first),
    ]
    for index, name in enumerate(first[0].classes):
        lines.append(
            f'{index:3} {name:{width}}'
            + ''.join(
                f'  {_share(count.pixels[index], count):>12}  {count.present_in[index]:7,}'
                for count in first
            )
        )
    lines.append(
        f'    {"ignored":{width}}'
        + ''.join(f'  {_share(count.ignored, count):>12}  {"":7}' for count in first)
    )
    return '\n'.join(lines)


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


def _count(
    config: str, split: str, published: int | None, dataset, histograms: dict[Path, np.ndarray]
) -> SplitCounts:
    classes = dataset.metainfo['classes']
    # With reduce_zero_label the value 0 is ignored and classes start at 1.
    first = int(dataset.reduce_zero_label)
    last = first + len(classes) - 1
    known = np.zeros(256, bool)
    known[first : last + 1] = True
    known[[0, dataset.ignore_index] if first else [dataset.ignore_index]] = True
    for label, histogram in histograms.items():
        unknown = np.flatnonzero(histogram * ~known)
        if len(unknown):
            raise UserError(
                f'the label {label} contains the value {unknown[0]}, expected 0 to {last} or '
                f'{dataset.ignore_index}; delete it and convert again.'
            )
    values = np.stack(list(histograms.values()))[:, first : last + 1]
    return SplitCounts(
        config,
        split,
        len(histograms),
        published,
        tuple(classes),
        values.sum(0),
        (values > 0).sum(0),
        int(sum(map(np.sum, histograms.values())) - values.sum()),
    )


def _share(pixels: int, count: SplitCounts) -> str:
    return f'{pixels / max(count.pixels.sum() + count.ignored, 1):.3%}'
