"""Record in a checkpoint what the run was, as far as its result depends on it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from mmseg_encnet.configuration.tree import leaves
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.samples import Samples, samples_of
from mmseg_encnet.version import __version__

# Entry of the checkpoint.
RUN_RECORD = 'run_record'
_FORMAT = 1
# Arguments of data sets that say where the data are, or how they are held.
_PLACES = frozenset(
    (
        'ann_file',
        'backend_args',
        'data_prefix',
        'data_root',
        'img_dir',
        'img_suffix',
        'lazy_init',
        'max_refetch',
        'seg_map_suffix',
        'serialize_data',
    )
)
_LABELS = frozenset(('ignore_index', 'metainfo', 'reduce_zero_label'))
# Arguments of models that do not affect the training of weights that are loaded.
_NOT_TRAINED = frozenset(('init_cfg', 'pretrained', 'test_cfg', 'with_cp'))
_ORDER = ('sampler', 'batch_sampler', 'drop_last', 'collate_fn')


class RunRecord(NamedTuple):
    """What a run was.

    Attributes:
        settings: Entries of the config by dotted key, and facts about the data set.
        samples: The samples of the training set.
        num_samples: Length of the training set, with repetitions by wrappers.
        processes: Number of processes.
        batch_size: Images per process and iteration; None with a batch sampler.
        config_batch_size: That of the config, which differs in another number of processes.
        loop: Class of the training loop.
        length: Its ``max_iters`` or ``max_epochs``.
        seed: Seed of the run.
        device: Type of the device.
        versions: Versions of this package, PyTorch, the toolbox, numpy and Python.
    """

    settings: dict[str, Any]
    samples: Samples
    num_samples: int
    processes: int
    batch_size: int | None
    config_batch_size: int | None
    loop: str
    length: int
    seed: int | None
    device: str
    versions: dict[str, str]

    @property
    def length_name(self) -> str:
        """Entry of ``train_cfg`` that holds the length."""
        return 'max_epochs' if 'Epoch' in self.loop else 'max_iters'


def length_of(loop: BaseLoop) -> int:
    """Return the length of training in iterations, or in epochs for an epoch-based loop."""
    return int(loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters)


def describe_run(runner: Runner) -> RunRecord:
    """Return the record of a run whose training loop is built."""
    loop = runner.train_loop
    dataset = loop.dataloader.dataset
    return RunRecord(
        settings=dict(_settings(runner)),
        samples=samples_of(dataset),
        num_samples=len(dataset),
        processes=get_world_size(),
        batch_size=loop.dataloader.batch_size,
        config_batch_size=(runner.cfg.get('train_dataloader') or {}).get('batch_size'),
        loop=type(loop).__name__,
        length=length_of(loop),
        seed=runner.seed,
        device=next(runner.model.parameters()).device.type,
        versions=_versions(),
    )


def to_plain(record: RunRecord) -> dict[str, Any]:
    """Return a record as plain data for a checkpoint."""
    samples = record.samples
    return dict(
        record._asdict(),
        format=_FORMAT,
        settings=json.dumps(record.settings),
        samples=dict(names=samples.names, sizes=samples.sizes, edges=samples.edges),
    )


def from_plain(plain: Any) -> RunRecord | None:
    """Read what :func:`to_plain` returned.

    Returns:
        The record, or None if a later version wrote it in another format.

    Raises:
        UserError: It is damaged.
    """
    try:
        if plain['format'] != _FORMAT:
            return None
        samples = Samples(*(plain['samples'][key] for key in ('names', 'sizes', 'edges')))
        fields = {key: plain[key] for key in RunRecord._fields}
        record = RunRecord(
            **{**fields, 'settings': json.loads(plain['settings']), 'samples': samples}
        )
        intact = (
            isinstance(record.settings, dict)
            and isinstance(record.versions, dict)
            and isinstance(record.loop, str)
            and isinstance(record.device, str)
            and all(type(value) is int for value in (record.processes, record.length))
            and record.processes > 0
            and record.length > 0
            and type(record.num_samples) is int
            and type(record.batch_size) in (int, type(None))
            and type(record.config_batch_size) in (int, type(None))
            and type(record.seed) in (int, type(None))
            and all(
                isinstance(part, Tensor) and part.dtype == torch.int64 and part.ndim == 1
                for part in samples[:3]
            )
            and len({len(part) for part in samples[:3]}) == 1
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        intact = False
    if not intact:
        raise UserError(
            f'has a damaged entry {RUN_RECORD!r}; use an earlier checkpoint of the same run.'
        )
    return record._replace(
        samples=samples._replace(
            **{key: getattr(samples, key).cpu() for key in ('names', 'sizes', 'edges')}
        )
    )


def _settings(runner: Runner) -> Iterator[tuple[str, Any]]:
    """Yield the entries of the config on which the result depends, and facts about the data."""
    cfg = runner.cfg
    yield from _flat('model', _trained(cfg.get('model')))
    yield from _flat('optim_wrapper', cfg.get('optim_wrapper'))
    yield from _flat('param_scheduler', cfg.get('param_scheduler'))
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable'):
        yield 'auto_scale_lr.base_batch_size', scaling.get('base_batch_size')
    yield 'randomness.diff_rank_seed', bool((cfg.get('randomness') or {}).get('diff_rank_seed'))
    averages = [hook for hook in cfg.get('custom_hooks') or () if 'EMAHook' in _type(hook)]
    if averages:
        yield from _flat('custom_hooks', averages)
    loader = cfg.get('train_dataloader')
    if isinstance(loader, Mapping):
        for key in _ORDER:
            yield from _flat(f'train_dataloader.{key}', loader.get(key))
        yield from _data_settings(loader.get('dataset'))
    for index, leaf in enumerate(leaf_datasets(runner.train_loop.dataloader.dataset)):
        number = f'{index}.' * bool(index)
        yield f'classes.{number}names', _plain(leaf.metainfo.get('classes'))
        for key in ('reduce_zero_label', 'ignore_index'):
            yield f'classes.{number}{key}', _plain(getattr(leaf, key, None))
        label_map = getattr(leaf, 'label_map', None)
        yield f'classes.{number}label_map', _plain(label_map and sorted(label_map.items()))


def _data_settings(dataset: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arguments of data sets and wrappers other than those about files."""
    if not isinstance(dataset, Mapping):
        yield 'dataset', _plain(dataset)
        return
    leaves = []
    yield 'dataset', _arrangement(dataset, leaves)
    for index, leaf in enumerate(leaves):
        number = f'{index}.' * bool(index)
        steps = leaf.get('pipeline') or ()
        yield from _pipeline(f'pipeline.{number}', steps)
        for key, value in leaf.items():
            if key not in _PLACES | _LABELS | {'type', 'pipeline'}:
                yield from _flat(f'dataset.{number}{key}', value)


def _arrangement(dataset: Mapping[str, Any], leaves: list[Mapping[str, Any]]) -> str:
    """Describe how wrappers combine data sets, and collect the data sets."""
    nested = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not nested:
        leaves.append(dataset)
        return _type(dataset)
    own = {
        key: _plain(value)
        for key, value in dataset.items()
        if key not in {'type', 'datasets', 'dataset'} | _PLACES
    }
    arguments = ', '.join(f'{key}={value}' for key, value in sorted(own.items()))
    inside = ', '.join(_arrangement(part, leaves) for part in nested)
    return f'{_type(dataset)}({arguments}) of {inside}'


def _pipeline(prefix: str, steps: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the steps of a pipeline and their arguments, by the type of the step."""
    seen: dict[str, int] = {}
    names = []
    for step in steps:
        kind = _type(step)
        seen[kind] = seen.get(kind, 0) + 1
        name = f'{kind}{seen[kind]}' if seen[kind] > 1 else kind
        names.append(name)
        if isinstance(step, Mapping):
            for key, value in step.items():
                if key not in ('type', 'backend_args'):
                    yield from _flat(f'{prefix}{name}.{key}', value)
    yield f'{prefix}steps', names


def _trained(model: Any) -> Any:
    """Return the config of a model without entries that do not affect training."""
    if isinstance(model, nn.Module):
        return type(model).__name__
    if isinstance(model, Mapping):
        return {key: _trained(value) for key, value in model.items() if key not in _NOT_TRAINED}
    if isinstance(model, (list, tuple)):
        return [_trained(value) for value in model]
    return model


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plain values inside a config entry by dotted key; None stands for no entry."""
    for path, leaf in leaves(value, key):
        if leaf is not None and not isinstance(leaf, Mapping):
            yield path, _plain(leaf)


def _plain(value: Any) -> Any:
    """Return a value as it is after a round trip through JSON."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return value.tolist()
    return getattr(value, '__name__', type(value).__name__)


def _type(cfg: Any) -> str:
    kind = cfg.get('type', '') if isinstance(cfg, Mapping) else type(cfg)
    return str(kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def _versions() -> dict[str, str]:
    return {
        'mmseg_encnet': __version__,
        'PyTorch': str(torch.__version__),
        'MMEngine': mmengine.__version__,
        'MMCV': mmcv.__version__,
        'MMSegmentation': mmseg.__version__,
        'numpy': np.__version__,
        'Python': platform.python_version(),
    }
