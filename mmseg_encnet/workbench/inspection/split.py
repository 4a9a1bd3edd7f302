"""One split of a config's data set: samples after its pipeline, or the labels alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmseg.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmseg_encnet.datasets.checked import build_checked_dataset, leaf_configs
from mmseg_encnet.datasets.loading import displayable, in_rgb_order
from mmseg_encnet.datasets.occurrence import LOADS_LABELS, Occurrence, count_pixels
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class LabelledImage:
    """An image and its label.

    Attributes:
        name: Title of the image, usually its file name.
        image: RGB image ``(H, W, 3)`` uint8.
        label: Class indices ``(h, w)``; values outside the classes are ignored.
    """

    name: str
    image: np.ndarray
    label: np.ndarray


class InspectedSplit:
    """One split of a config.

    Args:
        cfg: A config with data loaders.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UserError: The split is unknown, or the config has no data loader for it.
    """

    def __init__(self, cfg: Config, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f'unknown split {split!r}; choose one of {", ".join(SPLITS)}.')
        present = [name for name in SPLITS if cfg.get(f'{name}_dataloader')]
        if split not in present:
            raise UserError(
                f'cannot open split {split!r}: the config has no {split}_dataloader; choose one of '
                f'{", ".join(present) or "none"}.'
            )
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.split = split
        self.dataset_cfg = cfg[f'{split}_dataloader'].dataset
        self.preprocessor_cfg = cfg.get('model', {}).get('data_preprocessor')

    def samples(self, count: int, seed: int) -> DrawnSamples:
        """Draw random samples.

        Args:
            count: Maximum number of samples.
            seed: Seed of the selection and of the augmentation.

        Raises:
            UserError: ``count`` is not positive, or the data set cannot be opened.
        """
        if count < 1:
            raise UserError(f'count must be positive, got {count}.')
        return DrawnSamples(self, build_checked_dataset(self.dataset_cfg), count, seed)

    def labels(self) -> LabelCounts:
        """Return the labels as the config loads them, before any augmentation.

        Raises:
            UserError: The data set cannot be opened, defines no classes or loads no labels.
        """
        dataset = build_checked_dataset(self._labels_alone(self.dataset_cfg))
        # The size of a label is compared with that of its image.
        for leaf, part in zip(leaf_datasets(dataset), leaf_configs(self.dataset_cfg)):
            steps = [step for step in part['pipeline'] if 'LoadImage' in str(step['type'])]
            leaf.pipeline.loaders = Compose(steps).transforms
        return LabelCounts(dataset, self.split)

    def _labels_alone(self, dataset_cfg: dict[str, Any]) -> dict[str, Any]:
        """Return the config of a data set or wrapper with a pipeline that only loads labels."""
        changed = dict(dataset_cfg)
        if 'dataset' in changed:
            changed['dataset'] = self._labels_alone(changed['dataset'])
        elif 'datasets' in changed:
            changed['datasets'] = [self._labels_alone(part) for part in changed['datasets']]
        else:
            steps = [
                step
                for step in changed.get('pipeline', ())
                if LOADS_LABELS.search(str(step['type']))
            ]
            if not steps:
                raise UserError(
                    f'the pipeline of the {self.split} split loads no labels; add '
                    "dict(type='LoadAnnotations') or choose another split."
                )
            changed['pipeline'] = steps
            return changed
        if 'pipeline' in changed:
            changed['pipeline'] = []
        return changed


class DrawnSamples:
    """Samples of a split after its pipeline and the model's data preprocessor.

    Iterating yields one :class:`LabelledImage` each: the network's input without the
    normalisation, and the label used for training or evaluation.
    """

    def __init__(self, split: InspectedSplit, dataset: Any, count: int, seed: int) -> None:
        self.dataset = dataset
        self.split = split.split
        self.preprocessor_cfg = split.preprocessor_cfg
        self.seed = seed
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(dataset), min(count, len(dataset)), replace=False)
        self.indices: list[int] = np.sort(chosen).tolist()

    @property
    def classes(self) -> list[str]:
        """Class names by index."""
        return _classes(self.dataset)

    @property
    def palette(self) -> list[list[int]]:
        """RGB colours by index."""
        return self.dataset.metainfo['palette']

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[LabelledImage]:
        set_random_seed(self.seed)
        preprocessor = self.preprocessor_cfg and MODELS.build(self.preprocessor_cfg)
        for index in self.indices:
            sample = self.dataset[index]
            if 'inputs' in sample:
                yield self._packed(sample, preprocessor)
            else:
                yield LabelledImage(
                    Path(sample['img_path']).name,
                    displayable(sample['img'], in_rgb_order(_transforms(self.dataset))),
                    _label(sample.get('gt_seg_map'), sample['img_path']),
                )

    def _packed(self, sample: dict[str, Any], preprocessor: nn.Module | None) -> LabelledImage:
        data = sample['data_samples']
        if isinstance(data, list):
            raise UserError(
                'the pipeline returns several versions of each image; inspect the split without '
                'test-time augmentation.'
            )
        path = data.metainfo.get('img_path', 'unnamed')
        image, rgb = sample['inputs'].float(), in_rgb_order(_transforms(self.dataset))
        if preprocessor is not None:
            batch = preprocessor(
                dict(inputs=[sample['inputs']], data_samples=[data]), self.split == 'train'
            )
            image, data = batch['inputs'][0], batch['data_samples'][0]
            if getattr(preprocessor, 'mean', None) is not None:
                image = image * preprocessor.std + preprocessor.mean
            # The toolbox converts three channels only.
            rgb ^= len(image) == 3 and any(
                self.preprocessor_cfg.get(key, False) for key in ('bgr_to_rgb', 'rgb_to_bgr')
            )
        label = data.gt_sem_seg.data[0].numpy() if 'gt_sem_seg' in data else None
        shown = displayable(image.permute(1, 2, 0).numpy(), rgb)
        return LabelledImage(Path(path).name, shown, _label(label, path))


class LabelCounts(Dataset):
    """The labels of a data set; each item holds the counts of :func:`count_pixels`."""

    def __init__(self, dataset: Any, split: str) -> None:
        self.dataset = dataset
        self.split = split
        self.classes = _classes(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        return count_pixels(self.dataset[index]['gt_seg_map'], len(self.classes))

    def statistics(self, jobs: int) -> LabelStatistics:
        """Read all labels, with a progress bar, and return their statistics.

        Args:
            jobs: Number of processes; with 1 this process reads.

        Raises:
            UserError: ``jobs`` is not positive, a label is not usable, or all pixels are ignored.
        """
        batches = reading_loader(self, jobs, batch_size=16, collate_fn=np.stack)
        counts = tqdm(chain.from_iterable(batches), total=len(self), unit='label')
        statistics = LabelStatistics.collect(self.classes, counts)
        if not statistics.pixels.any():
            raise UserError(
                f'all pixels of the {len(self)} labels of {type(self.dataset).__name__} are '
                'ignored; check the labels and reduce_zero_label.'
            )
        return statistics


def reading_loader(dataset: Dataset, jobs: int, **options: Any) -> DataLoader:
    """Return a data loader with a number of processes; with 1 this process reads.

    Raises:
        UserError: The number is not positive.
    """
    if jobs < 1:
        raise UserError(f'jobs must be positive, got {jobs}.')
    return DataLoader(dataset, num_workers=0 if jobs == 1 else jobs, **options)


def occurrence(labels: LabelCounts, statistics: LabelStatistics) -> Occurrence:
    """Return which classes occur in the labels of a split, from its statistics."""
    return Occurrence(
        labels.classes,
        statistics.pixels > 0,
        statistics.ignored_pixels > 0,
        statistics.images,
        len(labels),
        any(getattr(leaf, 'reduce_zero_label', False) for leaf in leaf_datasets(labels.dataset)),
    )


def _classes(dataset: Any) -> list[str]:
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise UserError(
            f'{type(dataset).__name__} defines no classes; set them in the config with '
            "metainfo=dict(classes=['first', 'second'])."
        )
    return list(classes)


def _label(label: np.ndarray | None, image: str) -> np.ndarray:
    if label is None:
        raise UserError(
            f'sample {image} has no label after the pipeline; add '
            "dict(type='LoadAnnotations') or choose another split."
        )
    return label.astype(np.int64)


def title_of(part: DrawnSamples | LabelCounts) -> str:
    """Return the title of a figure of a split."""
    return f'{type(part.dataset).__name__}, {part.split} split'


def _transforms(dataset: Any) -> list[Any]:
    """Return the transforms of the first data set inside wrappers."""
    return next(leaf_datasets(dataset)).pipeline.transforms
