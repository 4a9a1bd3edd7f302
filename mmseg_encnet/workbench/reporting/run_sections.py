"""Sections about whole runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmseg_encnet.workbench.reporting import figures, tables
from mmseg_encnet.workbench.reporting.config_differences import config_differences
from mmseg_encnet.workbench.reporting.confusion import class_accuracy, class_iou
from mmseg_encnet.workbench.reporting.run_record import Curve, RunRecord
from mmseg_encnet.workbench.reporting.section import (
    Section,
    ShownRun,
    compares,
    evaluated,
    missing,
    run_cell,
)
from mmseg_encnet.workbench.reporting.tables import Cell, Table, number_table

# The table lists the other metrics too.
_VALIDATION_CURVES = {'mIoU': 'Validation mIoU (%)', 'aAcc': 'Validation pixel accuracy (%)'}
_PRESENCE_METRICS = {
    'presence/mAP': 'presence mAP',
    'presence/F1_micro': 'presence F1',
    'presence/ECE': 'presence calibration error',
}


def results(shown: Sequence[ShownRun]) -> Section:
    """Return the section of the main metrics."""
    values = [_quality(run) for run in shown]
    titles = list(dict.fromkeys(title for each in values for title in each))
    rows = []
    for run, own in zip(shown, values):
        cells = [
            tables.number(
                own.get(title), reference=values[0].get(title) if compares(run, shown[0]) else None
            )
            for title in titles
        ]
        rows.append([run_cell(run), *cells])
    notes = [
        'All values in percent. Validation results are from the log, the others from evaluating '
        'the checkpoint.'
        if evaluated(shown)
        else 'All values in percent, from the log.'
    ]
    if any(compares(run, shown[0]) for run in shown):
        notes.append(f'Small numbers are differences from {shown[0].label}.')
    if len({run.evaluation.dataset for run in evaluated(shown)}) > 1:
        notes.append(
            'The runs were evaluated on different data sets (see above) and are not comparable.'
        )
    shown_tables = [number_table('Results', ['run', *titles], rows)] if titles else []
    if evaluated(shown):
        shown_tables.append(_all_metrics(shown))
    return Section(
        'Results', 'results', [*notes, *missing(shown, 'evaluation')], tables=shown_tables
    )


def _quality(run: ShownRun) -> dict[str, float]:
    """Return the main metrics by title, in percent."""
    values = {}
    if run.evaluation:
        counts = run.evaluation.confusion
        values['mIoU'] = _mean_percent(class_iou(counts))
        values['pixel accuracy'] = 100 * float(np.trace(counts) / max(counts.sum(), 1))
        values['mean class accuracy'] = _mean_percent(class_accuracy(counts))
        values.update(
            {
                title: run.evaluation.metrics[key]
                for key, title in _PRESENCE_METRICS.items()
                if key in run.evaluation.metrics
            }
        )
    curve = run.record.validation.get('mIoU')
    if curve:
        values['last validation mIoU'] = curve.values[-1]
        values['best validation mIoU'] = float(np.nanmax([*curve.values, -np.inf]))
    return values


def _mean_percent(values: np.ndarray) -> float:
    return float(100 * np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _all_metrics(shown: Sequence[ShownRun]) -> Table:
    runs = evaluated(shown)
    names = dict.fromkeys(name for run in runs for name in run.evaluation.metrics)
    rows = [
        [
            Cell(name),
            *(
                tables.number(
                    run.evaluation.metrics.get(name),
                    reference=runs[0].evaluation.metrics.get(name)
                    if compares(run, runs[0])
                    else None,
                )
                for run in runs
            ),
        ]
        for name in names
    ]
    return number_table(
        'All metrics of the evaluation', ['metric', *(run.label for run in runs)], rows, folded=True
    )


def training(shown: Sequence[ShownRun]) -> Section:
    """Return the section of the logged curves."""
    pictures = []
    for title, of_run in _curves_to_draw(shown):
        curves = [(run.style, curve) for run in shown if (curve := of_run(run.record))]
        if curves:
            pictures.append(figures.draw_curves(title, curves))
    notes = missing(
        shown,
        'validation curve',
        lambda run: run.record.validation,
        'its log contains no validation',
    )
    diverged = [
        run.label
        for run in shown
        if any(
            not np.isfinite(curve.values).all()
            for key, curve in run.record.training.items()
            if 'loss' in key
        )
    ]
    if diverged:
        notes.append(f'Non-finite losses leave gaps in the curves of {", ".join(diverged)}.')
    return Section('Training', 'training', notes, pictures=pictures)


def _curves_to_draw(
    shown: Sequence[ShownRun],
) -> list[tuple[str, Callable[[RunRecord], Curve | None]]]:
    parts = sorted(
        {key for run in shown for key in run.record.training if 'loss' in key},
        key=lambda key: (key != 'loss', key.startswith('aux'), key),
    )
    titles = {'loss': 'Loss'} | {key: f'Loss part {key}' for key in parts if key != 'loss'}
    drawn = [
        (title, lambda record, key=key: record.validation.get(key))
        for key, title in _VALIDATION_CURVES.items()
    ]
    drawn += [(titles[key], lambda record, key=key: record.training.get(key)) for key in parts]
    drawn.append(('Learning rate', lambda record: record.training.get('lr')))
    return drawn


def speed_and_memory(shown: Sequence[ShownRun]) -> Section:
    """Return the section about speed, memory and parameters."""
    headers = [
        'run',
        'iterations',
        'iterations/s',
        'training memory (GPU)',
        'images/s at evaluation',
        'inference memory',
        'parameters',
        'parameters at inference',
    ]
    rows = []
    for run in shown:
        record, evaluation = run.record, run.evaluation
        seconds = record.seconds_per_iteration
        rows.append(
            [
                run_cell(run),
                Cell(str(record.iterations), record.iterations),
                tables.number(1 / seconds if seconds else None),
                tables.memory(record.training_memory),
                tables.number(evaluation.images_per_second if evaluation else None),
                tables.memory(evaluation.peak_memory if evaluation else None),
                tables.count(evaluation.parameters if evaluation else None),
                tables.count(evaluation.parameters_at_inference if evaluation else None),
            ]
        )
    notes = [
        'Iterations per second are from the median of the logged times. Training memory is '
        'logged on GPUs only.'
    ]
    notes += missing(shown, 'inference speed and parameters')
    if evaluated(shown):
        machines = dict.fromkeys(run.evaluation.machine for run in evaluated(shown))
        notes.append(
            'Images per second are measured once over the whole evaluation, including data '
            'loading. Inference memory is that of the first image, without weights and results. '
            f'Evaluated on {"; ".join(machines)}.'
        )
    return Section(
        'Speed and memory', 'speed', notes, tables=[number_table('Speed and memory', headers, rows)]
    )


def differences(shown: Sequence[ShownRun]) -> Section | None:
    """Return the section of config differences, or None for one run."""
    if len(shown) < 2:
        return None
    runs = [run for run in shown if run.config is not None]
    notes = missing(
        shown,
        'comparison of configs',
        lambda run: run.config is not None,
        'its config is not readable',
    )
    shown_tables = []
    if len(runs) > 1:
        entries = config_differences([run.config for run in runs])
        rows = [[Cell(key), *map(Cell, values)] for key, values in entries.items()]
        if rows:
            headers = ['entry', *(run.label for run in runs)]
            shown_tables.append(Table('Config differences', headers, rows))
        else:
            notes.append('The configs are identical.')
    return Section('Config differences', 'differences', notes, tables=shown_tables)
