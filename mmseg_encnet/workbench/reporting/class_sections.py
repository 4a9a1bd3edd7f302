"""Sections about classes and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from mmseg_encnet.evaluation.metrics.presence_metric import average_precision, calibration_bins
from mmseg_encnet.workbench.reporting import figures, tables
from mmseg_encnet.workbench.reporting.confusion import (
    class_accuracy,
    class_iou,
    most_confused,
    pair,
)
from mmseg_encnet.workbench.reporting.section import (
    Section,
    ShownRun,
    apart,
    evaluated,
    groups_by_classes,
    missing,
    of_runs,
)
from mmseg_encnet.workbench.reporting.tables import Cell, Table, number_table

_CONFUSED_PAIRS = 10


def classes(shown: Sequence[ShownRun]) -> Section:
    """Return the section of IoU and accuracy of each class."""
    groups = groups_by_classes(shown)
    return Section(
        'Classes',
        'classes',
        [*missing(shown, 'results by class'), *apart(groups)],
        tables=[_class_table(group, shown) for group in groups],
    )


def _class_table(runs: Sequence[ShownRun], shown: Sequence[ShownRun]) -> Table:
    counts = runs[0].evaluation.confusion
    columns = _ClassColumns(runs)
    columns.add(
        'share of pixels (%)', map(tables.number, 100 * counts.sum(axis=1) / max(counts.sum(), 1))
    )
    columns.compare('IoU', [class_iou(run.evaluation.confusion) for run in runs])
    columns.compare('accuracy', [class_accuracy(run.evaluation.confusion) for run in runs])
    return columns.table(of_runs('Classes', runs, shown))


class _ClassColumns:
    """Builder of a table of the classes that some runs share, column by column."""

    def __init__(self, runs: Sequence[ShownRun]) -> None:
        first = runs[0].evaluation
        self.runs = runs
        self.headers: list[str] = []
        self.columns: list[list[Cell]] = []
        colours = ('#{:02x}{:02x}{:02x}'.format(*rgb) for rgb in first.palette)
        self.add(
            'class', [Cell(name, colour=colour) for name, colour in zip(first.classes, colours)]
        )

    def add(self, header: str, cells: Iterable[Cell]) -> None:
        self.headers.append(header)
        self.columns.append(list(cells))

    def compare(self, title: str, values: Sequence[np.ndarray]) -> None:
        """Add shares ``(C,)`` from 0 to 1 for each run, then differences from the first run."""
        for run, own in zip(self.runs, values):
            of_run = f' of {run.letter}' if len(self.runs) > 1 else ''
            self.add(
                f'{title}{of_run} (%)',
                (tables.number(100 * value, 1, bar=run.style.colour) for value in own),
            )
        for run, own in zip(self.runs[1:], values[1:]):
            letters = f'{run.letter}\N{MINUS SIGN}{self.runs[0].letter}'
            self.add(f'{title} {letters}', map(tables.difference, 100 * own, 100 * values[0]))

    def table(self, caption: str) -> Table:
        return number_table(caption, self.headers, list(zip(*self.columns)))


def confusion(shown: Sequence[ShownRun]) -> Section:
    """Return the section of confusion matrices."""
    groups = groups_by_classes(shown)
    notes = missing(shown, 'confusion matrix')
    if groups:
        notes.append(
            'Rows are true classes and columns predicted ones, in percent of the true '
            "class's pixels. The tables list the pairs with the most wrong pixels."
        )
    return Section(
        'Confusion',
        'confusion',
        notes,
        pictures=[
            figures.draw_confusion(run.label, run.evaluation.confusion, run.evaluation.classes)
            for run in evaluated(shown)
        ],
        after=[_pair_table(group, shown) for group in groups],
        layout='pairs' if len(evaluated(shown)) > 1 else 'row',
    )


def _pair_table(runs: Sequence[ShownRun], shown: Sequence[ShownRun]) -> Table:
    classes = runs[0].evaluation.classes
    leading = dict.fromkeys(
        (each.truth, each.prediction)
        for run in runs
        for each in most_confused(run.evaluation.confusion, _CONFUSED_PAIRS)
    )
    headers = ['true class', 'predicted as']
    for run in runs:
        of_run = f' of {run.letter}' if len(runs) > 1 else ''
        headers += [f'% of wrong pixels{of_run}', f'% of the true class{of_run}']
    found = [[pair(run.evaluation.confusion, *of_pair) for run in runs] for of_pair in leading]
    largest = max((100 * each.of_errors for own in found for each in own), default=100)
    rows = []
    for (truth, prediction), own in zip(leading, found):
        cells = [Cell(classes[truth]), Cell(classes[prediction])]
        for run, each in zip(runs, own):
            cells += [
                tables.number(100 * each.of_errors, 1, bar=run.style.colour, full=largest),
                tables.number(100 * each.of_truth, 1),
            ]
        rows.append(cells)
    return number_table(of_runs('Most confused pairs', runs, shown), headers, rows, texts=2)


def presence(shown: Sequence[ShownRun]) -> Section:
    """Return the section about the presence probabilities of the SE branch."""
    runs = [run for run in evaluated(shown) if run.evaluation.presence]
    notes = missing(shown, 'presence probabilities')
    why = 'its model has no SE branch'
    notes += missing(
        evaluated(shown), 'presence probabilities', lambda run: run.evaluation.presence, why
    )
    pictures = []
    if runs:
        notes.append(
            'The SE branch predicts the probability that a class is present in the image. If it '
            'is calibrated, 70 % of the classes predicted with probability 0.7 are present.'
        )
        pictures.append(
            figures.draw_calibration(
                [(run.style, calibration_bins(*run.evaluation.presence)) for run in runs]
            )
        )
    return Section(
        'Presence of classes',
        'presence',
        notes,
        pictures=pictures,
        after=[_precision_table(group, shown) for group in groups_by_classes(runs)],
        layout='row',
    )


def _precision_table(runs: Sequence[ShownRun], shown: Sequence[ShownRun]) -> Table:
    columns = _ClassColumns(runs)
    images = runs[0].evaluation.present.sum(axis=0)
    columns.add('images with the class', (tables.number(float(number), 0) for number in images))
    columns.compare(
        'average precision', [average_precision(*run.evaluation.presence) for run in runs]
    )
    return columns.table(of_runs('Average precision of presence', runs, shown))


def sheets(shown: Sequence[ShownRun]) -> Section:
    """Return the section of context sheets, the same images for every run."""
    names = dict.fromkeys(name for run in evaluated(shown) for name in run.evaluation.sheets)
    pictures = []
    for name, run in product(names, evaluated(shown)):
        if name in run.evaluation.sheets:
            caption, of_run = (run.label, f' by {run.label}') if len(shown) > 1 else ('', '')
            alt = f'Image {name}{of_run}: input, ground truth, prediction, errors, context.'
            pictures.append(figures.png_picture(run.evaluation.sheets[name], alt, caption))
    notes = missing(shown, 'context sheets')
    if pictures:
        notes.append('Images spaced evenly over the evaluated set.')
    return Section('Context sheets', 'sheets', notes, pictures=pictures, layout='row')
