"""Publish a training: its network in a folder, with a model card written from the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmseg_encnet.errors import UserError
from mmseg_encnet.hub.model_card import Card, Metric, describe_network
from mmseg_encnet.hub.pretrained import CARD, WEIGHTS, save_pretrained, write_card
from mmseg_encnet.predicting import Segmentor, load_segmentor
from mmseg_encnet.running.explain import explain
from mmseg_encnet.visualization.context_sheet import draw_sample
from mmseg_encnet.visualization.style import png
from mmseg_encnet.workbench.formatting import markdown_table
from mmseg_encnet.workbench.reporting.evaluation_record import EvaluationRecord, evaluation_record
from mmseg_encnet.workbench.studies.image_areas import accuracy, mean_iou
from mmseg_encnet.workbench.studies.statistics import RESAMPLES, bootstrap_interval

SHEET = 'context_sheet.png'
# Logged name, identifier at the hub and usual name.
_METRICS = (
    ('mIoU', 'mean_iou', 'mIoU'),
    ('aAcc', 'accuracy', 'pixel accuracy'),
    ('mAcc', 'mean_accuracy', 'mean class accuracy'),
    ('presence/mAP', 'mean_average_precision', 'presence mAP'),
)


def write_folder(
    cfg: Config,
    checkpoint: str,
    folder: Path,
    *,
    name: str,
    license: str = 'other',
    evaluate: bool = True,
    sheet: str | None = None,
) -> list[str]:
    """Write the network of a training as :func:`~mmseg_encnet.hub.save_pretrained` does.

    The model card states data, schedule and results. A card that the folder already has is kept.

    Args:
        cfg: Config of the training.
        checkpoint: Checkpoint file, its address, or ``'pretrained'``.
        folder: Folder to write.
        name: Title of the card.
        license: Identifier of the licence of the weights, as the hub has it.
        evaluate: Whether to evaluate the network on the test set of the config for the card.
        sheet: Image of which the card shows a context sheet; empty for the first test image, None
            for no sheet.

    Returns:
        One sentence for everything that is missing from the card.

    Raises:
        UserError: The checkpoint cannot be loaded or the network cannot be stored.
    """
    segmentor = load_segmentor(cfg, checkpoint)
    has_card = (folder / CARD).is_file()
    save_pretrained(segmentor.model, folder)
    if has_card:
        return []
    missing, record = [], None
    if evaluate:
        try:
            record = evaluation_record(cfg, folder / WEIGHTS, Path(cfg.work_dir, 'report'), name)
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                raise
            missing.append(f'the results: {sentence}')
    figures = {}
    if sheet:
        figures[SHEET] = _sheet(segmentor, sheet)
    elif sheet is not None and record is not None:
        figures[SHEET] = next(iter(record.sheets.values()))
    elif sheet is not None:
        missing.append('the context sheet: the network was not evaluated; name an image')
    write_card(folder, training_card(cfg, segmentor, record, name, license, figures))
    return missing


def training_card(
    cfg: Config,
    segmentor: Segmentor,
    record: EvaluationRecord | None,
    name: str,
    license: str = 'other',
    figures: Mapping[str, bytes] | None = None,
) -> Card:
    """Return the model card of a training.

    Args:
        cfg: Its config.
        segmentor: Its network.
        record: Its evaluation, if there is one.
        name: Title.
        license: Identifier of the licence of the weights.
        figures: Image files for the card, by name.
    """
    figures = figures or {}
    of_network = describe_network(segmentor.model, segmentor.classes)
    dataset = _dataset_name(cfg)
    metrics = list(_metrics(record)) if record is not None else []
    sections = {
        'Network': of_network['Network'],
        'Data': _data(cfg, record),
        'Training': '\n'.join(
            ['As its config states:', '', *(f'- {line}' for line in _schedule(cfg))]
        ),
        'Results': _results(record, metrics),
        **({'Example': f'![Context sheet]({SHEET})'} if SHEET in figures else {}),
        'Intended use': of_network['Intended use'],
        'Limits': of_network['Limits'],
    }
    split = (cfg.test_dataloader.dataset.get('data_prefix') or {}).get('img_path') or 'test'
    return Card(
        name,
        sections,
        license,
        dataset.lower(),
        dataset,
        Path(split).name,
        metrics,
        figures,
    )


def _dataset_name(cfg: Config) -> str:
    node = cfg.test_dataloader.dataset
    while 'dataset' in node and 'type' in node and 'pipeline' not in node:
        node = node.dataset
    kind = node.type if isinstance(node.type, str) else node.type.__name__
    return kind.rpartition('.')[2].removesuffix('Dataset')


def _data(cfg: Config, record: EvaluationRecord | None) -> str:
    lines = [f'Trained on {_dataset_name(cfg)}.']
    if record is not None:
        lines.append(f'Evaluated on {record.dataset}.')
    return ' '.join(lines) + ' The terms of the data may restrict the use of the weights.'


def _schedule(cfg: Config) -> Iterator[str]:
    optimizer = dict(cfg.get('optim_wrapper', {}).get('optimizer') or {})
    if optimizer:
        kind = optimizer.pop('type')
        settings = ', '.join(f'{key} {value}' for key, value in optimizer.items())
        yield f'optimizer: {kind}, {settings}'
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        settings = ', '.join(
            f'{key} {value}' for key, value in scheduler.items() if key not in ('type', 'by_epoch')
        )
        yield f'learning rate: {scheduler.type}, {settings}'
    train = cfg.get('train_cfg') or {}
    for key, unit in (('max_iters', 'iterations'), ('max_epochs', 'epochs')):
        if train.get(key):
            yield f'length: {train[key]} {unit}'
    loader = cfg.get('train_dataloader') or {}
    if loader.get('batch_size'):
        yield f'batch size: {loader["batch_size"]} per process'
    pipeline = (loader.get('dataset') or {}).get('pipeline') or cfg.get('train_pipeline') or []
    steps = [str(step['type']).rpartition('.')[2] for step in pipeline]
    if steps:
        yield f'augmentation: {", ".join(steps)}'
    start = cfg.get('load_from') or (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
    yield f'initial weights: {Path(start).name if start else "random"}'
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None:
        yield f'seed: {seed}'


def _metrics(record: EvaluationRecord) -> Iterator[Metric]:
    classes = range(len(record.classes))
    from_areas = {'mIoU': mean_iou, 'aAcc': partial(accuracy, classes=classes)}
    for key, kind, name in _METRICS:
        value = record.metrics.get(key)
        if value is None or not np.isfinite(value):
            continue
        interval, metric = None, from_areas.get(key)
        areas = record.areas if metric is not None else None
        # An evaluator may leave out classes.
        if areas is not None and abs(float(metric(areas.sum(axis=0))) - value) < 0.02:
            interval = bootstrap_interval(areas, metric)
        yield Metric(kind, name, value, interval)


def _results(record: EvaluationRecord | None, metrics: list[Metric]) -> str:
    if record is None or not metrics:
        return 'Not measured.'
    rows = [
        [
            metric.name,
            f'{metric.value:.2f}',
            f'{metric.interval[0]:.1f} to {metric.interval[1]:.1f}' if metric.interval else '-',
        ]
        for metric in metrics
    ]
    return (
        f'Single scale, on the {len(record.present)} images named above, in percent:\n\n'
        f'{markdown_table(("metric", "value", "95 % interval"), rows)}\n\n'
        f'The intervals come from drawing the images with replacement {RESAMPLES} times. They '
        'cover the choice of images, not that of the seed of the training.'
    )


def _sheet(segmentor: Segmentor, image: str) -> bytes:
    """Return the context sheet of an image as PNG."""
    if not Path(image).is_file():
        raise UserError(f'image {image} does not exist; check the path.')
    loaded = segmentor.load(image)
    sample = segmentor.predict(loaded, context_maps=True)
    meta: dict[str, Any] = dict(classes=segmentor.classes, palette=segmentor.palette)
    return png(draw_sample(loaded.rgb(), sample, meta, Path(image).name))
