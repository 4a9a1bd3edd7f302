"""What a study file says: a base config, named variants of it, and seeds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError


# Told apart by identity: its options cannot be hashed.
@dataclass(frozen=True, eq=False)
class Variant:
    """One row of a study's table.

    Attributes:
        name: As it stands in the table.
        config: Name of a shipped config, or its path.
        options: Overrides of the config by dotted key.
        group: The question that the variant belongs to; rows of one group stand together.
    """

    name: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str = ''


@dataclass(frozen=True)
class Run:
    """One training: a variant with a seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """A name for files: the variant's in small letters, and the seed."""
        return f'{slug(self.variant.name)}_seed{self.seed}'

    def load(self, work_dir: Path, options: Mapping[str, Any] | None = None) -> Config:
        """The resolved config.

        Args:
            work_dir: Folder for logs and checkpoints.
            options: Overrides on top, such as where the data lie.
        """
        cfg = load_config(
            self.variant.config, {**self.variant.options, **(options or {})}, str(work_dir)
        )
        cfg.randomness = dict(seed=self.seed)
        return cfg

    def digest(self) -> str:
        """Identifies what is trained and tested, wherever it runs and whatever it logs."""
        content = self.load(Path()).to_dict()
        content = {key: content.get(key) for key in _TRAINED}
        return hashlib.sha256(
            json.dumps(content, sort_keys=True, default=str).encode()
        ).hexdigest()[:16]


@dataclass(frozen=True)
class Study:
    """A study file, read.

    Attributes:
        name: Stem of its file.
        title: What it asks, for the head of its page.
        metric: The metric that the table is sorted out by, e.g. ``mIoU``; in percent.
        baseline: Name of the variant that the others are compared with.
        variants: All of them, the baseline among them.
        seeds: Every variant is trained with each.
        against: ``iterations``, or ``receptive_field``: what the figure draws the metric against.
    """

    name: str
    title: str
    metric: str
    baseline: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    against: str = 'iterations'

    @property
    def runs(self) -> list[Run]:
        """All trainings, the first seed of every variant first: a table is whole early."""
        return [Run(variant, seed) for seed in self.seeds for variant in self.variants]


_TRAINED = (
    'auto_scale_lr',
    'custom_hooks',
    'load_from',
    'model',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'test_dataloader',
    'train_cfg',
    'train_dataloader',
)
AGAINST = ('iterations', 'receptive_field')
REQUIRED = {'baseline', 'config', 'metric', 'seeds', 'variants'}
KEYS = REQUIRED | {'against', 'full_size', 'options', 'title'}


def load_study(path: str | Path, full_size: bool = False) -> Study:
    """Read a study file, Python in the toolbox's config syntax.

    It assigns ``title``, ``config`` (of variants that name none), ``seeds``, ``baseline``,
    ``metric``, ``against``, ``options`` (for all variants) and ``variants``, a list of
    ``dict(name=..., config=..., options=..., group=...)`` of which only the name is needed;
    ``full_size`` is a ``dict(configs={small: large}, options=...)`` whose configs and options take
    the place of the others on a machine with a GPU.

    Args:
        path: The file.
        full_size: Whether to take the configs and options of ``full_size``.

    Raises:
        UserError: Naming what is missing or unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'study file {path} does not exist; check the path.')
    try:
        content = Config.fromfile(path).to_dict()
    except Exception as error:
        raise UserError(
            f'study file {path} cannot be read: {type(error).__name__}: {error}; correct the file.'
        ) from error
    for wrong, word in (
        (REQUIRED - set(content), 'lacks'),
        (set(content) - KEYS, 'has the unknown entry'),
    ):
        if wrong:
            raise UserError(
                f'study file {path} {word} {sorted(wrong)[0]}; expected {", ".join(sorted(KEYS))}.'
            )
    large = content.get('full_size') or {}
    if full_size and not large:
        raise UserError(
            f'--full-size came, but study file {path} has no full_size; leave the option out.'
        )
    configs = large.get('configs', {}) if full_size else {}
    options = (large if full_size else content).get('options', {})
    variants = tuple(
        _variant(path, entry, content['config'], configs, options) for entry in content['variants']
    )
    names = [slug(variant.name) for variant in variants]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise UserError(
            f'study file {path} has two variants named {sorted(doubled)[0]}; give each '
            'a name of its own.'
        )
    if slug(content['baseline']) not in names:
        raise UserError(
            f'study file {path} names the baseline {content["baseline"]!r}, but its '
            f'variants are {", ".join(v.name for v in variants)}; name one of these.'
        )
    against = content.get('against', 'iterations')
    if against not in AGAINST:
        raise UserError(
            f'study file {path} has against={against!r}; expected one of {", ".join(AGAINST)}.'
        )
    name = f'{path.stem}-full' if full_size else path.stem
    return Study(
        name,
        content.get('title', name),
        content['metric'],
        content['baseline'],
        variants,
        tuple(content['seeds']),
        against,
    )


def _variant(
    path: Path,
    entry: Mapping[str, Any],
    config: str,
    configs: Mapping[str, str],
    options: Mapping[str, Any],
) -> Variant:
    unknown = set(entry) - {'name', 'config', 'options', 'group'}
    if unknown or 'name' not in entry:
        raise UserError(
            f'study file {path} has the variant {dict(entry)}; expected name, and '
            'config, options, group where they are needed.'
        )
    config = entry.get('config', config)
    return Variant(
        entry['name'],
        configs.get(config, config),
        {**options, **entry.get('options', {})},
        entry.get('group', ''),
    )


def slug(name: str) -> str:
    """A variant's name as a part of file names."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')


def select(variants: Sequence[Variant], names: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of some names.

    Raises:
        UserError: If there is none of a name.
    """
    by_slug = {slug(variant.name): variant for variant in variants}
    for name in names:
        if slug(name) not in by_slug:
            raise UserError(
                f'{name!r} came, but the variants are '
                f'{", ".join(v.name for v in variants)}; name one of these.'
            )
    return tuple(by_slug[slug(name)] for name in names)
