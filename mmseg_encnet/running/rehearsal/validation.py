"""Validate one image before training."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader

from mmseg_encnet.datasets.image_sizes import stored_size
from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.models.parts import evaluating
from mmseg_encnet.resuming.options import schedulers_in
from mmseg_encnet.resuming.run_record import length_of
from mmseg_encnet.running.hooks.val_loss_hook import ValLossHook

# Processing the samples of a batch takes longer than reading the headers of their files.
_SIZES = 32


@contextmanager
def _explained(dataset: Any, sample: Any, what: str, remedy: str) -> Iterator[None]:
    """Turn an error into one sentence: why the sample cannot be evaluated, else what failed."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = why_not_evaluated(dataset, sample, 'val') or (
            f'{what} ({type_and_first_line(error)}); {remedy}'
        )
        raise UserError(reason) from error


def rehearse_validation(runner: Runner) -> None:
    """Validate the first image of this process and check which metrics result.

    Metrics work on copies, nothing is logged, and no file is written.

    Raises:
        UserError: The validation cannot run, images of a batch differ in size, or a hook or
            scheduler monitors a metric that is not measured.
    """
    loop = runner.val_loop
    if loop is None or getattr(runner.train_loop, 'val_begin', 1) > length_of(runner.train_loop):
        _warn_of_no_validation(runner)
        return
    dataset = loop.dataloader.dataset
    index = next(iter(loop.dataloader.sampler), None)
    if index is None:
        return
    sample = dataset[int(index)]
    check_batches(loop.dataloader, 'val')
    batch = loop.dataloader.collate_fn([sample])
    with evaluating(runner.model), torch.no_grad():
        outputs = runner.model.val_step(batch)
    outputs = [output for output in outputs if isinstance(output, SegDataSample)]
    names: list[str] = []
    with _quiet(runner), tempfile.TemporaryDirectory() as folder:
        for metric in loop.evaluator.metrics:
            with _explained(
                dataset,
                sample,
                f'{type(metric).__name__} of val_evaluator cannot be computed',
                'correct its arguments or the validation pipeline.',
            ):
                names += _measured(metric, batch, outputs, folder)
    for hook in runner.hooks:
        if isinstance(hook, ValLossHook):
            with _explained(
                dataset,
                sample,
                f'{type(hook).__name__} cannot compute the losses of the validation',
                'let its pipeline load what the losses need, or remove the hook.',
            ):
                names += hook.measured(runner, batch)
    _check_monitored(runner, names)


def check_batches(dataloader: DataLoader, split: str) -> None:
    """Check that the images of each batch have the same size after the pipeline.

    Images whose files have the same size are expected to leave the pipeline with the same size;
    one of each is processed, of at most 32 sizes.

    Args:
        dataloader: Data of a validation or test.
        split: ``'val'`` or ``'test'``, for the message.

    Raises:
        UserError: Two images differ, which the toolbox cannot put into one batch.
    """
    if (dataloader.batch_size or 1) < 2 or dataloader.batch_sampler is None:
        return
    dataset = dataloader.dataset
    shapes: dict[Any, tuple[int, ...]] = {}
    for batch in dataloader.batch_sampler:
        first = None
        sizes = {int(index): _file_size(dataset, int(index)) for index in batch}
        if len(set(sizes.values())) == 1:
            continue
        for index, size in sizes.items():
            if size not in shapes:
                if len(shapes) == _SIZES:
                    return
                inputs = dataset[index]['inputs']
                # Test-time augmentation has a list of views.
                views = inputs if isinstance(inputs, list) else [inputs]
                shapes[size] = tuple(length for view in views for length in view.shape[-2:])
            first = first or (index, shapes[size])
            if shapes[size] != first[1]:
                one, other = (
                    f'{"x".join(map(str, shape[:2]))} ({_name(dataset, i)})'
                    for i, shape in (first, (index, shapes[size]))
                )
                raise UserError(
                    f'images of one {split} batch must have the same size, got {one} and {other} '
                    f'(height x width); set {split}_dataloader.batch_size=1, or resize or pad them '
                    'to one size in the pipeline.'
                )


def why_not_evaluated(dataset: Any, sample: Any, split: str) -> str | None:
    """Return what the data of an evaluation lack, or None.

    Args:
        dataset: Data set of the evaluation.
        sample: One of its samples, after the pipeline.
        split: ``'val'`` or ``'test'``, for the message.
    """
    kind = type(dataset).__name__
    if not (getattr(dataset, 'metainfo', None) or {}).get('classes'):
        return (
            f'{kind} of {split}_dataloader has no class names, which the evaluation needs; set '
            'metainfo=dict(classes=(...), palette=[...]) of the data set.'
        )
    samples = sample.get('data_samples') if isinstance(sample, dict) else None
    first = samples[0] if isinstance(samples, list) and samples else samples
    if first is not None and 'gt_sem_seg' not in first:
        return (
            f'the pipeline of {split}_dataloader yields no labels, which the evaluation needs; add '
            "dict(type='LoadAnnotations') after its last step that resizes."
        )
    return None


def _measured(
    metric: BaseMetric, batch: Any, outputs: Sequence[SegDataSample], folder: str
) -> list[str]:
    """Return the names of what a metric measures, from one image."""
    metric = copy.deepcopy(metric)
    metric.results = []
    if getattr(metric, 'output_dir', None) is not None:
        metric.output_dir = folder
    metric.process(batch, [output.to_dict() for output in outputs])
    values = metric.compute_metrics(metric.results)
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in values]


def _check_monitored(runner: Runner, names: Sequence[str]) -> None:
    """Refuse hooks and schedulers that monitor what is not measured."""
    for part, option, key in _monitored(runner):
        if key != 'auto' or option != 'save_best':
            _check_measured(f'{option}={key!r} of {type(part).__name__}', key, names)
        else:
            _check_rule(part, names)


def _warn_of_no_validation(runner: Runner) -> None:
    """Name the hooks and schedulers that wait for a validation, of which training has none."""
    for part, option, key in _monitored(runner):
        if runner.val_loop is None:
            reason = 'the config has no validation; set val_cfg, val_dataloader and val_evaluator'
        else:
            begin = runner.train_loop.val_begin
            reason = f'training ends before train_cfg.val_begin={begin}; reduce it'
        kind = type(part).__name__
        remedy = 'set save_best=None' if option == 'save_best' else f'remove the {kind}'
        runner.logger.warning(
            f'{option}={key!r} of {kind} has no effect, because {reason}, or {remedy}.'
        )


def _monitored(runner: Runner) -> Iterator[tuple[Any, str, str]]:
    """Yield each hook or scheduler that monitors a metric, with its option and the metric."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            yield from ((hook, 'save_best', key) for key in hook.key_indicators)
        elif isinstance(hook, EarlyStoppingHook):
            yield hook, 'monitor', hook.monitor
    for scheduler in schedulers_in(runner.param_schedulers):
        key = getattr(scheduler, 'monitor', None)
        if key is not None:
            yield scheduler, 'monitor', key


def _check_measured(monitored: str, key: str, names: Sequence[str]) -> None:
    if key not in names:
        raise UserError(
            f'got {monitored}, but the validation measures {", ".join(names) or "nothing"}; choose '
            'one of these, or change val_evaluator.'
        )


def _check_rule(hook: CheckpointHook, names: Sequence[str]) -> None:
    if not names:
        raise UserError(
            "got save_best='auto', but the validation measures nothing; set it to None."
        )
    try:
        copy.copy(hook)._init_rule(hook.rules, [names[0]])
    except ValueError as error:
        raise UserError(
            f"got save_best='auto', but it is unknown whether a larger {names[0]} is better; set "
            "default_hooks.checkpoint.save_best and rule='greater' or rule='less'."
        ) from error


@contextmanager
def _quiet(runner: Runner) -> Iterator[None]:
    """Suppress tables, and warnings about classes that do not occur in the image."""
    disabled, runner.logger.disabled = runner.logger.disabled, True
    try:
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore')
            yield
    finally:
        runner.logger.disabled = disabled


def _file_size(dataset: Any, index: int) -> Any:
    """Return height and width of an image file, or a unique value if its header is unreadable."""
    path = _path(dataset, index)
    size = stored_size(path) if path is not None and path.is_file() else None
    return index if size is None else size[:2]


def _name(dataset: Any, index: int) -> str:
    path = _path(dataset, index)
    return f'number {index}' if path is None else path.name


def _path(dataset: Any, index: int) -> Path | None:
    try:
        return Path(dataset.get_data_info(index)['img_path'])
    except (AttributeError, KeyError):
        return None
