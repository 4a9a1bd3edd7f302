"""A config's data set as the tools that look at it see it: after its pipeline, or labels alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmseg.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.inspection.label_grid import LabelledImage
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics, count_pixels

SPLITS = ('train', 'val', 'test')

_LOADS_LABELS = re.compile(r'Load\w*Annotation')


class InspectedSplit:
    """One split of a config.

    Args:
        cfg: A config with data loaders.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UserError: If there is no such split, or the config has no data loader for it.
    """

    def __init__(self, cfg: Config, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f'split {split!r} came, expected one of {", ".join(SPLITS)}.')
        present = [name for name in SPLITS if cfg.get(f'{name}_dataloader')]
        if split not in present:
            raise UserError(
                f'split {split!r} came, but the config has no {split}_dataloader; it has the '
                f'splits {", ".join(present) or "none"}.'
            )
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.split = split
        self.dataset_cfg = cfg[f'{split}_dataloader'].dataset
        self.preprocessor_cfg = cfg.get('model', {}).get('data_preprocessor')

    def samples(self, count: int, seed: int) -> DrawnSamples:
        """Choose samples to look at.

        Args:
            count: How many, at most.
            seed: Seed of the choice and of the augmentation.

        Raises:
            UserError: If ``count`` is not positive or the data set cannot be opened.
        """
        if count < 1:
            raise UserError(f'count {count} came, expected 1 or more.')
        return DrawnSamples(self, build_checked_dataset(self.dataset_cfg), count, seed)

    def labels(self) -> LabelCounts:
        """The labels as the config loads them, before any augmentation.

        Raises:
            UserError: If the data set cannot be opened, names no classes or loads no labels.
        """
        return LabelCounts(build_checked_dataset(self._labels_alone(self.dataset_cfg)))

    def _labels_alone(self, dataset_cfg: dict[str, Any]) -> dict[str, Any]:
        """The config of a data set, or of what wraps one, that loads labels and nothing else."""
        changed = dict(dataset_cfg)
        if 'dataset' in changed:
            changed['dataset'] = self._labels_alone(changed['dataset'])
        elif 'datasets' in changed:
            changed['datasets'] = [self._labels_alone(part) for part in changed['datasets']]
        else:
            steps = [
                step
                for step in changed.get('pipeline', ())
                if _LOADS_LABELS.search(str(step['type']))
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
    """Samples of a split after its pipeline and after what the model does to them first.

    Iterating yields a :class:`LabelledImage` each: the image as the network gets it, but for the
    normalisation, and the label as it is trained or evaluated with.
    """

    def __init__(self, split: InspectedSplit, dataset: Any, count: int, seed: int) -> None:
        self.dataset = dataset
        self.training = split.split == 'train'
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
                    _displayable(sample['img'][..., ::-1]),
                    _label(sample.get('gt_seg_map'), sample['img_path']),
                )

    def _packed(self, sample: dict[str, Any], preprocessor: nn.Module | None) -> LabelledImage:
        data = sample['data_samples']
        if isinstance(data, list):
            raise UserError(
                'the pipeline makes several versions of every image; look at the split '
                'without test-time augmentation.'
            )
        path = data.metainfo.get('img_path', 'unnamed')
        image, rgb = sample['inputs'].float(), False
        if preprocessor is not None:
            batch = preprocessor(
                dict(inputs=[sample['inputs']], data_samples=[data]), self.training
            )
            image, data = batch['inputs'][0], batch['data_samples'][0]
            if getattr(preprocessor, 'mean', None) is not None:
                image = image * preprocessor.std + preprocessor.mean
            rgb = self.preprocessor_cfg.get('bgr_to_rgb', False)
        label = data.gt_sem_seg.data[0].numpy() if 'gt_sem_seg' in data else None
        picture = image.permute(1, 2, 0).numpy()
        # The toolbox reads images as BGR.
        picture = picture if rgb else picture[..., ::-1]
        return LabelledImage(Path(path).name, _displayable(picture), _label(label, path))


class LabelCounts(Dataset):
    """Pixels by class of every label of a data set; items are those of :func:`count_pixels`."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.classes = _classes(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        return count_pixels(self.dataset[index]['gt_seg_map'], len(self.classes))

    def statistics(self, jobs: int) -> LabelStatistics:
        """Read all labels, with a progress bar, and sum up what they hold.

        Args:
            jobs: Processes that read; with 1 it is this one.

        Raises:
            UserError: If ``jobs`` is not positive, naming the file of a label that cannot be used
                and why, or if no label holds a class.
        """
        if jobs < 1:
            raise UserError(f'jobs {jobs} came, expected 1 or more.')
        batches = DataLoader(
            self, batch_size=16, num_workers=0 if jobs == 1 else jobs, collate_fn=np.stack
        )
        counts = tqdm(chain.from_iterable(batches), total=len(self), unit='label')
        statistics = LabelStatistics.collect(self.classes, counts)
        if not statistics.pixels.any():
            raise UserError(
                f'none of the {len(self)} labels of {type(self.dataset).__name__} holds a class, '
                'all pixels are ignored; check the labels and reduce_zero_label.'
            )
        return statistics


def _classes(dataset: Any) -> list[str]:
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise UserError(
            f'{type(dataset).__name__} names no classes; give them in the config as '
            "metainfo=dict(classes=['first', 'second'])."
        )
    return list(classes)


def _label(label: np.ndarray | None, image: str) -> np.ndarray:
    if label is None:
        raise UserError(
            f'sample {image} has no label after its pipeline; add '
            "dict(type='LoadAnnotations') or choose another split."
        )
    return label.astype(np.int64)


def _displayable(image: np.ndarray) -> np.ndarray:
    """Values of 0 to 255 in any channels as RGB ``(H, W, 3)`` uint8."""
    image = np.atleast_3d(image)[..., :3]
    shown = np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[2] < 3 else image
    return np.rint(shown).clip(0, 255).astype(np.uint8)
