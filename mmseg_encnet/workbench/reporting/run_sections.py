"""Sections about whole runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmseg_encnet.workbench.reporting import figures, tables
from mmseg_encnet.workbench.reporting.config_differences import config_differences
from mmseg_encnet.workbench.reporting.confusion import class_accuracy, class_iou
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
    rows = [
        [run_cell(run), *(_compared(run, own, shown[0], values[0], title) for title in titles)]
        for run, own in zip(shown, values)
    ]
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
        metrics = run.evaluation.metrics
        values |= {t: metrics[key] for key, t in _PRESENCE_METRICS.items() if key in metrics}
    curve = run.record.validation.get('mIoU')
    if curve:
        values['last validation mIoU'] = curve.values[-1]
        values['best validation mIoU'] = float(np.nanmax([*curve.values, -np.inf]))
    return values


def _compared(
    run: ShownRun,
    values: Mapping[str, float],
    first: ShownRun,
    of_first: Mapping[str, float],
    key: str,
) -> Cell:
    """Return the cell of a run's value, with the difference from a comparable first run."""
    reference = of_first.get(key) if compares(run, first) else None
    return tables.number(values.get(key), reference=reference)


def _mean_percent(values: np.ndarray) -> float:
    return float(100 * np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _all_metrics(shown: Sequence[ShownRun]) -> Table:
    runs = evaluated(shown)
    names = dict.fromkeys(name for run in runs for name in run.evaluation.metrics)
    first = runs[0].evaluation.metrics
    rows = [
        [
            Cell(name),
            *(_compared(run, run.evaluation.metrics, runs[0], first, name) for run in runs),
        ]
        for name in names
    ]
    return number_table(
        'All metrics of the evaluation', ['metric', *(run.label for run in runs)], rows, folded=True
    )


def training(shown: Sequence[ShownRun]) -> Section:
    """Return the section of the logged curves."""
    losses = sorted(
        {key for run in shown for key in run.record.training if 'loss' in key},
        key=lambda key: (key != 'loss', key.startswith('aux'), key),
    )
    pictures = []
    for title, kind, key in (
        *((title, 'validation', key) for key, title in _VALIDATION_CURVES.items()),
        *(('Loss' if key == 'loss' else f'Loss part {key}', 'training', key) for key in losses),
        ('Learning rate', 'training', 'lr'),
    ):
        curves = [(run.style, getattr(run.record, kind).get(key)) for run in shown]
        if any(curve for _, curve in curves):
            pictures.append(figures.draw_curves(title, [pair for pair in curves if pair[1]]))
    why = 'its log contains no validation'
    notes = missing(shown, 'validation curve', lambda run: run.record.validation, why)
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


def speed_and_memory(shown: Sequence[ShownRun]) -> Section:
    """Return the section about speed, memory and parameters."""
    rows = []
    for run in shown:
        seconds, evaluation = run.record.seconds_per_iteration, run.evaluation
        cells = {
            'run': run_cell(run),
            'iterations': Cell(str(run.record.iterations), run.record.iterations),
            'iterations/s': tables.number(1 / seconds if seconds else None),
            'training memory (GPU)': tables.memory(run.record.training_memory),
        }
        for header, make, name in (
            ('images/s at evaluation', tables.number, 'images_per_second'),
            ('inference memory', tables.memory, 'peak_memory'),
            ('parameters', tables.count, 'parameters'),
            ('parameters at inference', tables.count, 'parameters_at_inference'),
        ):
            cells[header] = make(getattr(evaluation, name, None))
        rows.append(list(cells.values()))
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
        'Speed and memory',
        'speed',
        notes,
        tables=[number_table('Speed and memory', list(cells), rows)],
    )


def differences(shown: Sequence[ShownRun]) -> Section | None:
    """Return the section of config differences, or None for one run."""
    if len(shown) < 2:
        return None
    runs = [run for run in shown if run.config is not None]
    why = 'its config is not readable'
    notes = missing(shown, 'comparison of configs', lambda run: run.config is not None, why)
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
