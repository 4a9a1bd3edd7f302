"""The content of a study file: a base config, named variants of it, and seeds."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError, about, type_and_first_line
from mmseg_encnet.values import brief, integer, mapping, sequence, text


# Compared by identity, because options cannot be hashed.
@dataclass(frozen=True, eq=False)
class Variant:
    """One row of a study's table.

    Attributes:
        name: Label in the table.
        config: Name or path of a config.
        options: Overrides of the config by dotted key.
        group: Heading under which the table lists the variant.
    """

    name: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str = ''


@dataclass(frozen=True)
class Run:
    """One training run: a variant with a seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """Stem of the run's file names."""
        return f'{slug(self.variant.name)}_seed{self.seed}'

    def load(self, work_dir: Path, options: Mapping[str, Any] | None = None) -> Config:
        """Return the resolved config, with further overrides such as the location of the data."""
        cfg = load_config(
            self.variant.config, {**self.variant.options, **(options or {})}, str(work_dir)
        )
        cfg.randomness = dict(seed=self.seed)
        return cfg

    def digest(self) -> str:
        """Return a hash of everything in the config that affects the result."""
        content = {**_trained(self.variant), 'randomness': dict(seed=self.seed)}
        return hashlib.sha256(
            json.dumps(content, sort_keys=True, default=str).encode()
        ).hexdigest()[:16]


# The seeds of a variant share it.
@functools.cache
def _trained(variant: Variant) -> dict[str, Any]:
    """Return the entries of a variant's config that affect its result, apart from the seed."""
    content = Run(variant, 0).load(Path()).to_dict()
    content = {key: content.get(key) for key in _TRAINED}
    # The location of the data does not change the result.
    for split in ('train', 'test'):
        content[f'{split}_dataloader']['dataset'].pop('data_root', None)
    return content


@dataclass(frozen=True)
class Study:
    """A parsed study file.

    Attributes:
        name: Stem of the file.
        title: Title of its page.
        metric: The metric to compare, in percent, e.g. ``mIoU``.
        baseline: Name of the variant that the others are compared with.
        variants: All variants, including the baseline.
        seeds: Seeds that every variant is trained with.
        against: Horizontal axis of the figure, ``iterations`` or ``receptive_field``.
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
        """All runs, seed by seed, so that the table covers all variants early."""
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
_AGAINST = ('iterations', 'receptive_field')
_REQUIRED = {'baseline', 'config', 'metric', 'seeds', 'variants'}
_KEYS = _REQUIRED | {'against', 'full_size', 'options', 'title'}


def load_study(path: str | Path, full_size: bool = False) -> Study:
    """Load a study file, or the ``full_size`` in it; it has the toolbox's config syntax.

    The file assigns ``title``, ``config`` (of variants without one), ``seeds``, ``baseline``,
    ``metric``, ``against``, ``options`` (of all variants) and ``variants``, a list of
    ``dict(name=..., config=..., options=..., group=...)`` of which only the name is required; its
    ``full_size`` are options that replace those of the same key with ``full_size``. The file's
    ``full_size`` is a ``dict(configs={small: large}, options=...)`` that replaces configs and
    options on a machine with a GPU.

    Raises:
        UserError: The file is missing or invalid.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'study file {path} does not exist; check the path.')
    try:
        content = Config.fromfile(path).to_dict()
    except (Exception, SystemExit) as error:
        raise UserError(
            f'cannot read study file {path}: {type_and_first_line(error)}; correct the file.'
        ) from error
    with about(f'study file {path}'):
        return _study(f'{path.stem}-full' if full_size else path.stem, content, full_size)


def _study(name: str, content: dict[str, Any], full_size: bool) -> Study:
    for wrong, word in (
        (_REQUIRED - set(content), 'lacks'),
        (set(content) - _KEYS, 'has the unknown entry'),
    ):
        if wrong:
            raise UserError(f'{word} {min(wrong)}; expected {", ".join(sorted(_KEYS))}.')
    _check_types(content)
    large = content.pop('full_size', None) or {}
    if full_size and not large:
        raise UserError('has no full_size; omit --full-size or add it.')
    configs = large.get('configs', {}) if full_size else {}
    options = (large if full_size else content).get('options', {})
    variants = []
    for entry in content['variants']:
        try:
            of_size = entry.pop('full_size', {})
            variant = Variant(**{'config': content['config'], **entry})
            for value in (variant.name, variant.config, variant.group):
                text(value, 'an entry of a variant')
            mapping(variant.options, f'options of variant {brief(variant.name)}')
            mapping(of_size, f'full_size of variant {brief(variant.name)}')
        except (AttributeError, TypeError):
            raise UserError(
                f'has {brief(entry)} as a variant, expected name and optionally config, '
                'options, group and full_size; correct it.'
            ) from None
        variants.append(
            replace(
                variant,
                config=configs.get(variant.config, variant.config),
                options={**options, **variant.options, **(of_size if full_size else {})},
            )
        )
    names = [variant.name for variant in variants]
    slugs = Counter(map(slug, names))
    repeated = [name for name, count in slugs.items() if count > 1]
    if repeated:
        raise UserError(f'has two variants named {repeated[0]}; give each its own name.')
    baseline, against = content['baseline'], content.get('against', 'iterations')
    for kind, chosen, known in (
        ('the unknown baseline ', baseline, names),
        ('against=', against, _AGAINST),
    ):
        if chosen not in known:
            raise UserError(f'has {kind}{chosen!r}; choose one of {", ".join(known)}.')
    return Study(
        name,
        content.get('title', name),
        content['metric'],
        baseline,
        tuple(variants),
        tuple(content['seeds']),
        against,
    )


def _check_types(content: Mapping[str, Any]) -> None:
    for key in ('baseline', 'config', 'metric', 'title'):
        text(content.get(key, ''), key)
    if not sequence(content['seeds'], 'seeds'):
        raise UserError('has no seeds; add one.')
    for seed in content['seeds']:
        integer(seed, 'a seed', high=2**32 - 1)
    sequence(content['variants'], 'variants')
    large = mapping(content.get('full_size') or {}, 'full_size')
    for key, value in (
        ('options', content.get('options', {})),
        ('options of full_size', large.get('options', {})),
        ('configs of full_size', large.get('configs', {})),
    ):
        mapping(value, key)


def slug(name: str) -> str:
    """Return a variant's name as it appears in file names."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')
