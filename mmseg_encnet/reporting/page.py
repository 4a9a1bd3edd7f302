"""The report: one page for one or several runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..evaluation.metrics.presence_metric import average_precision, calibration_bins
from ..version import __version__
from . import figures, tables
from .config_differences import config_differences
from .confusion import class_accuracy, class_iou, most_confused, pair
from .evaluation_record import EvaluationRecord
from .figures import Picture, Style
from .run_record import Curve, RunRecord
from .tables import Cell, Table

# Of the validation's metrics these are drawn; the table has all.
_VALIDATION_CURVES = {'mIoU': 'Validation mIoU (%)', 'aAcc': 'Validation pixel accuracy (%)'}
_PRESENCE_METRICS = {'presence/mAP': 'presence mAP', 'presence/F1_micro': 'presence F1',
                     'presence/ECE': 'presence calibration error'}
_CONFUSED_PAIRS = 10


@dataclass(frozen=True)
class ReportedRun:
    """A run and what of it is known.

    Attributes:
        name: What the page calls it.
        record: Its folder.
        config: Its config; None if it cannot be read.
        evaluation: The evaluation of its checkpoint; None if there is none.
        problems: For everything that is missing one sentence.
    """

    name: str
    record: RunRecord
    config: Mapping[str, Any] | None
    evaluation: EvaluationRecord | None
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class _Shown:
    """A run with its place on the page."""

    run: ReportedRun
    letter: str
    style: Style

    @property
    def evaluation(self) -> EvaluationRecord | None:
        return self.run.evaluation

    @property
    def label(self) -> str:
        return self.style.label


@dataclass(frozen=True)
class _Section:
    """What one section shows.

    Attributes:
        title: Its heading.
        anchor: Where links to it lead.
        notes: Paragraphs.
        tables: What follows them.
        pictures: What follows these.
        after: Tables beside the last picture where there is room, else below.
        layout: Of the pictures: ``grid`` of small ones, ``row`` of large ones, ``pairs`` of large
            ones that are compared.
    """

    title: str
    anchor: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    after: Sequence[Table] = ()
    layout: str = 'grid'


def render_page(runs: Sequence[ReportedRun]) -> str:
    """The page, as HTML that needs nothing beside itself.

    Args:
        runs: At least one run; the others are compared with the first.
    """
    shown = []
    for index, run in enumerate(runs):
        letter = _letter(index)
        label = f'{letter} {run.name}' if len(runs) > 1 else run.name
        shown.append(_Shown(run, letter, figures.run_style(index, label)))
    environment = Environment(
        loader=PackageLoader('mmseg_encnet.reporting'), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    sections = [build(shown) for build in _SECTIONS]
    return environment.get_template('report.html').render(
        title=_title(runs), several=len(runs) > 1, version=__version__,
        runs=[_card(run) for run in shown],
        sections=[section for section in sections if section],
        configs=[(run, run.run.record.config_text) for run in shown])


def _title(runs: Sequence[ReportedRun]) -> str:
    if len(runs) == 1:
        return f'Run {runs[0].name}'
    return f'{len(runs)} runs: {", ".join(run.name for run in runs)}'


def _letter(index: int) -> str:
    """A, B, ... Z, A1, B1 and so on."""
    turn, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else '')


def _card(shown: _Shown) -> dict[str, Any]:
    """What the head of the page says of a run."""
    run, record = shown.run, shown.run.record
    facts = {'Folder': str(record.path)}
    if run.config:
        facts['Model'] = _model_in_words(run.config['model'])
    facts['Trained'] = f'{record.iterations} iterations'
    if record.sessions > 1:
        facts['Trained'] += f', log of {record.sessions} starts'
    if shown.evaluation:
        facts['Evaluated'] = f'{shown.evaluation.checkpoint} on {shown.evaluation.dataset}'
    problems = list(run.problems)
    if record.broken_lines:
        lines = 'line' if record.broken_lines == 1 else 'lines'
        problems.append(f'{record.broken_lines} unreadable {lines} of the log left out, as a '
                        'killed process leaves them.')
    return dict(letter=shown.letter, colour=shown.style.colour, name=run.name, facts=facts,
                problems=problems)


def _model_in_words(model: Mapping[str, Any]) -> str:
    parts = [model.get('type')]
    for key in ('backbone', 'neck', 'decode_head'):
        part = model.get(key)
        part = part[-1] if isinstance(part, (list, tuple)) and part else part
        if part:
            depth = part.get('depth', '')
            parts.append(f'{part.get("type")}{f"-{depth}" if depth else ""}')
    return ', '.join(map(str, parts))


def _evaluated(shown: Sequence[_Shown]) -> list[_Shown]:
    return [run for run in shown if run.evaluation]


def _missing(shown: Sequence[_Shown], what: str,
             there: Callable[[_Shown], Any] = lambda run: run.evaluation,
             why: str = 'its checkpoint was not evaluated, see above') -> list[str]:
    return [f'No {what} for {run.label}: {why}.' for run in shown if not there(run)]


def _groups(shown: Sequence[_Shown]) -> list[list[_Shown]]:
    """The evaluated runs, those with the same classes together."""
    groups = defaultdict(list)
    for run in _evaluated(shown):
        groups[tuple(run.evaluation.classes)].append(run)
    return list(groups.values())


def _apart(groups: Sequence[Sequence[_Shown]]) -> list[str]:
    if len(groups) < 2:
        return []
    sizes = '; '.join(
        f'{", ".join(run.label for run in group)} with {len(group[0].evaluation.classes)} classes'
        for group in groups)
    return [f'The class lists do not match, so classes are compared within each only: {sizes}.']


def _run_cell(run: _Shown) -> Cell:
    return Cell(run.label, colour=run.style.colour)


def _mean_percent(values: np.ndarray) -> float:
    return float(100 * np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _quality(run: _Shown) -> dict[str, float]:
    """The figures of the first table, by title; those of the evaluation in percent."""
    values = {}
    if run.evaluation:
        counts = run.evaluation.confusion
        values['mIoU'] = _mean_percent(class_iou(counts))
        values['pixel accuracy'] = 100 * float(np.trace(counts) / max(counts.sum(), 1))
        values['mean class accuracy'] = _mean_percent(class_accuracy(counts))
        values.update({title: run.evaluation.metrics[key]
                       for key, title in _PRESENCE_METRICS.items()
                       if key in run.evaluation.metrics})
    curve = run.run.record.validation.get('mIoU')
    if curve:
        values['last validation mIoU'] = curve.values[-1]
        values['best validation mIoU'] = float(np.nanmax([*curve.values, -np.inf]))
    return values


def _results(shown: Sequence[_Shown]) -> _Section:
    values = [_quality(run) for run in shown]
    titles = list(dict.fromkeys(title for each in values for title in each))
    rows = []
    for run, own in zip(shown, values):
        cells = [tables.number(own.get(title),
                               reference=values[0].get(title) if run is not shown[0] else None)
                 for title in titles]
        rows.append([_run_cell(run), *cells])
    notes = ['All figures in percent. The validation\'s are from the log, the others from '
             'evaluating the checkpoint.' if _evaluated(shown) else
             'All figures in percent, from the log.']
    if len(shown) > 1:
        notes.append(f'Small figures are the difference from {shown[0].label}.')
    shown_tables = [_table('Results', ['run', *titles], rows)] if titles else []
    if _evaluated(shown):
        shown_tables.append(_all_metrics(shown))
    return _Section('Results', 'results', [*notes, *_missing(shown, 'evaluation')],
                    tables=shown_tables)


def _all_metrics(shown: Sequence[_Shown]) -> Table:
    runs = _evaluated(shown)
    names = dict.fromkeys(name for run in runs for name in run.evaluation.metrics)
    rows = [[Cell(name),
             *(tables.number(run.evaluation.metrics.get(name),
                             reference=None if run is runs[0] else
                             runs[0].evaluation.metrics.get(name)) for run in runs)]
            for name in names]
    return _table('Every metric of the evaluation',
                  ['metric', *(run.label for run in runs)], rows, folded=True)


def _table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[Cell]],
           texts: int = 1, folded: bool = False) -> Table:
    """A table whose columns are numbers apart from the first."""
    return Table(caption, headers, rows, frozenset(range(texts, len(headers))), folded)


def _curves(shown: Sequence[_Shown]) -> _Section:
    pictures = []
    for title, of_run in _curves_to_draw(shown):
        curves = [(run.style, curve) for run in shown if (curve := of_run(run.run.record))]
        if curves:
            pictures.append(figures.draw_curves(title, curves))
    notes = _missing(shown, 'validation curve', lambda run: run.run.record.validation,
                     'its log holds no validation')
    unfinished = [run.label for run in shown
                  if any(not np.isfinite(curve.values).all()
                         for key, curve in run.run.record.training.items() if 'loss' in key)]
    if unfinished:
        notes.append(f'A loss is not finite at times, which leaves gaps: {", ".join(unfinished)}.')
    return _Section('Training', 'training', notes, pictures=pictures)


def _curves_to_draw(
    shown: Sequence[_Shown]
) -> list[tuple[str, Callable[[RunRecord], Curve | None]]]:
    parts = sorted({key for run in shown for key in run.run.record.training if 'loss' in key},
                   key=lambda key: (key != 'loss', key.startswith('aux'), key))
    titles = {'loss': 'Loss'} | {key: f'Loss part {key}' for key in parts if key != 'loss'}
    drawn = [(title, lambda record, key=key: record.validation.get(key))
             for key, title in _VALIDATION_CURVES.items()]
    drawn += [(titles[key], lambda record, key=key: record.training.get(key)) for key in parts]
    drawn.append(('Learning rate', lambda record: record.training.get('lr')))
    return drawn


def _classes(shown: Sequence[_Shown]) -> _Section:
    groups = _groups(shown)
    return _Section('Classes', 'classes', [*_missing(shown, 'figures by class'), *_apart(groups)],
                    tables=[_class_table(group, shown) for group in groups])


def _class_table(runs: Sequence[_Shown], shown: Sequence[_Shown]) -> Table:
    counts = runs[0].evaluation.confusion
    columns = _ClassColumns(runs)
    columns.add('share of pixels (%)', map(
        tables.number, 100 * counts.sum(axis=1) / max(counts.sum(), 1)))
    columns.compare('IoU', [class_iou(run.evaluation.confusion) for run in runs])
    columns.compare('accuracy', [class_accuracy(run.evaluation.confusion) for run in runs])
    return columns.table(_of_runs('Classes', runs, shown))


class _ClassColumns:
    """A table of classes that grows by columns.

    Args:
        runs: The runs in it, all with the same classes.
    """

    def __init__(self, runs: Sequence[_Shown]) -> None:
        first = runs[0].evaluation
        self.runs = runs
        self.headers: list[str] = []
        self.columns: list[list[Cell]] = []
        self.add('class', [Cell(name, colour=_css_colour(rgb))
                           for name, rgb in zip(first.classes, first.palette)])

    def add(self, header: str, cells: Iterable[Cell]) -> None:
        self.headers.append(header)
        self.columns.append(list(cells))

    def compare(self, title: str, values: Sequence[np.ndarray]) -> None:
        """Add a share ``(C,)`` from 0 to 1 for each run, then its differences from the first."""
        for run, own in zip(self.runs, values):
            of_run = f' of {run.letter}' if len(self.runs) > 1 else ''
            self.add(f'{title}{of_run} (%)',
                     (tables.number(100 * value, 1, bar=run.style.colour) for value in own))
        for run, own in zip(self.runs[1:], values[1:]):
            letters = f'{run.letter}\N{MINUS SIGN}{self.runs[0].letter}'
            self.add(f'{title} {letters}',
                     map(tables.difference, 100 * own, 100 * values[0]))

    def table(self, caption: str) -> Table:
        return _table(caption, self.headers, list(zip(*self.columns)))


def _of_runs(title: str, runs: Sequence[_Shown], shown: Sequence[_Shown]) -> str:
    """A title that names the runs where they are not all."""
    if len(runs) == len(shown):
        return title
    return f'{title}: {", ".join(run.label for run in runs)}'


def _css_colour(rgb: Sequence[int]) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*rgb)


def _confusion(shown: Sequence[_Shown]) -> _Section:
    groups = _groups(shown)
    notes = _missing(shown, 'confusion matrix')
    if groups:
        notes.append('Each row of a matrix is one true class; the numbers are percent of its '
                     'pixels. The tables name the pairs with the most wrong pixels.')
    return _Section(
        'Confusion', 'confusion', [*notes, *_apart(groups)],
        pictures=[figures.draw_confusion(run.label, run.evaluation.confusion,
                                         run.evaluation.classes) for run in _evaluated(shown)],
        after=[_pair_table(group, shown) for group in groups],
        layout='pairs' if len(_evaluated(shown)) > 1 else 'row')


def _pair_table(runs: Sequence[_Shown], shown: Sequence[_Shown]) -> Table:
    classes = runs[0].evaluation.classes
    leading = dict.fromkeys(
        (each.truth, each.prediction) for run in runs
        for each in most_confused(run.evaluation.confusion, _CONFUSED_PAIRS))
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
            cells += [tables.number(100 * each.of_errors, 1, bar=run.style.colour, full=largest),
                      tables.number(100 * each.of_truth, 1)]
        rows.append(cells)
    return _table(_of_runs('Most confused pairs', runs, shown), headers, rows, texts=2)


def _presence(shown: Sequence[_Shown]) -> _Section:
    runs = [run for run in _evaluated(shown) if run.evaluation.presence]
    notes = _missing(shown, 'presence probabilities')
    notes += _missing(_evaluated(shown), 'presence probabilities',
                      lambda run: run.evaluation.presence,
                      'its model has no SE branch that predicts them')
    pictures = []
    if runs:
        notes.append('The SE branch says with which probability each class is in the image. Where '
                     'it is calibrated, of the classes called present with 70 % seven in ten '
                     'are.')
        pictures.append(figures.draw_calibration(
            [(run.style, calibration_bins(*run.evaluation.presence)) for run in runs]))
    groups = _groups(runs)
    return _Section('Presence of classes', 'presence', [*notes, *_apart(groups)],
                    pictures=pictures, after=[_precision_table(group, shown) for group in groups],
                    layout='row')


def _precision_table(runs: Sequence[_Shown], shown: Sequence[_Shown]) -> Table:
    columns = _ClassColumns(runs)
    images = runs[0].evaluation.present.sum(axis=0)
    columns.add('images that show it', (tables.number(float(number), 0) for number in images))
    columns.compare('average precision',
                    [average_precision(*run.evaluation.presence) for run in runs])
    return columns.table(_of_runs('Average precision of presence', runs, shown))


def _sheets(shown: Sequence[_Shown]) -> _Section:
    names = dict.fromkeys(name for run in _evaluated(shown) for name in run.evaluation.sheets)
    pictures = []
    for name in names:
        for run in _evaluated(shown):
            if name in run.evaluation.sheets:
                of_run = f' by {run.label}' if len(shown) > 1 else ''
                pictures.append(figures.png_picture(
                    run.evaluation.sheets[name], f'Image {name}{of_run}: photograph, truth, '
                    'prediction, errors, and the context that the model predicted from.',
                    run.label if len(shown) > 1 else ''))
    notes = _missing(shown, 'sample sheets')
    if pictures:
        notes.append('Images spread evenly over the evaluated set.')
    return _Section('Sample sheets', 'sheets', notes, pictures=pictures, layout='row')


def _cost(shown: Sequence[_Shown]) -> _Section:
    headers = ['run', 'iterations', 'iterations/s', 'GPU memory in training', 'images/s in '
               'evaluation', 'memory at inference', 'parameters', 'of these at inference']
    rows = []
    for run in shown:
        record, evaluation = run.run.record, run.evaluation
        seconds = record.seconds_per_iteration
        rows.append([
            _run_cell(run),
            Cell(str(record.iterations), record.iterations),
            tables.number(1 / seconds if seconds else None),
            tables.memory(record.training_memory),
            tables.number(evaluation.images_per_second if evaluation else None),
            tables.memory(evaluation.peak_memory if evaluation else None),
            tables.count(evaluation.parameters if evaluation else None),
            tables.count(evaluation.parameters_at_inference if evaluation else None)])
    notes = ['Iterations per second from the median of the logged times. The log holds the '
             'memory of a GPU only.']
    notes += _missing(shown, 'inference speed and parameters')
    if _evaluated(shown):
        machines = dict.fromkeys(run.evaluation.machine for run in _evaluated(shown))
        notes.append('Images per second of the whole evaluation, reading and measuring included, '
                     'taken once; memory beyond weights and results, at the first image. '
                     'Evaluated on '
                     + '; '.join(machines) + '.')
    return _Section('Speed and memory', 'speed', notes,
                    tables=[_table('Speed and memory', headers, rows)])


def _differences(shown: Sequence[_Shown]) -> _Section | None:
    if len(shown) < 2:
        return None
    runs = [run for run in shown if run.run.config is not None]
    notes = _missing(shown, 'comparison of configs', lambda run: run.run.config is not None,
                     'its config cannot be read')
    if len(runs) < 2:
        return _Section('Differences of the configs', 'differences', notes)
    differences = config_differences([run.run.config for run in runs])
    if not differences:
        notes.append('The configs are the same.')
        return _Section('Differences of the configs', 'differences', notes)
    rows = [[Cell(key), *map(Cell, values)] for key, values in differences.items()]
    table = Table('Differences of the configs', ['entry', *(run.label for run in runs)], rows)
    return _Section('Differences of the configs', 'differences', notes, tables=[table])


_SECTIONS = (_results, _curves, _classes, _confusion, _presence, _sheets, _cost, _differences)
