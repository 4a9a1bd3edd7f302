"""The page of a study: a table in Markdown and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress, groupby, zip_longest
from pathlib import Path
from statistics import fmean, median
from string import ascii_lowercase

import numpy as np
from matplotlib.figure import FigureBase

from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.formatting import markdown_table, memory_text
from mmseg_encnet.workbench.studies.definition import Study
from mmseg_encnet.workbench.studies.results import GIVEN_PRESENCE, PRESENCE_MAP, RunResult
from mmseg_encnet.workbench.studies.statistics import Summary

_BASELINE_COLOUR = 'black'
# Columns of metrics that not every study records.
_RECORDED = {GIVEN_PRESENCE: 'given presence', PRESENCE_MAP: 'presence mAP'}
# Explanations of columns.
_NOTES = {
    'given presence': '"Given presence" is the mIoU if each image is labelled only with classes '
    'that are in it.',
    'presence mAP': '"Presence mAP" is the mean average precision of the predicted presence.',
    'last fifth': '"Last fifth" is the gain in the last fifth of the training, averaged over the '
    'seeds.',
    'receptive field': 'The receptive field is that of the backbone, in input columns and without '
    'max pooling.',
}


def study_table(study: Study, rows: Sequence[Summary]) -> str:
    """Return metric, difference from the baseline and cost of each variant as Markdown.

    Variants without any run, finished or crashed, are omitted.
    """
    rows = [row for row in rows if row.results or row.crashes]
    headers = (
        '',
        study.metric,
        'seeds',
        f'against {study.baseline}',
        '95 % interval',
        *_RECORDED.values(),
        'last fifth',
        'parameters',
        'receptive field',
        's per iteration',
        'memory',
    )
    cells = []
    letters = machine_letters(rows)
    for group, members in groupby(rows, key=lambda row: row.variant.group):
        if group:
            cells.append([f'**{group}**'])
        cells += [_cells(study, row, letters) for row in members]
    cells = [row + [''] * (len(headers) - len(row)) for row in cells]
    # The first column has the names.
    kept = [not name or any(column) for name, column in zip(headers, zip(*cells))]
    headers, *cells = (list(compress(row, kept)) for row in (headers, *cells))
    return markdown_table(headers, cells)


def machine_letters(rows: Sequence[Summary]) -> dict[str, str]:
    """Return a letter for each machine, because times of two machines are not comparable."""
    machines = sorted({result.machine for row in rows for result in row.results.values()})
    return dict(zip(machines, ascii_lowercase))


def _cells(study: Study, row: Summary, letters: Mapping[str, str]) -> list[str]:
    results = list(row.results.values())
    if not results:
        return [row.variant.name, 'crashed', f'0 of {len(study.seeds)}']
    value = f'{row.mean:.1f}'
    if len(results) > 1:
        value += f' ± {row.deviation:.1f}'
    seeds = f'{len(results)} of {len(study.seeds)}'
    if row.crashes:
        seeds += f', {len(row.crashes)} crashed'
    interval = ''
    if row.interval:
        low, high = row.interval
        interval = f'{low:+.1f} to {high:+.1f}'
        if low > 0 or high < 0:
            interval = f'**{interval}**'
    seconds = ', '.join(
        f'{median(times):.2f}' + (f' {letter}' if len(letters) > 1 else '')
        for machine, letter in letters.items()
        if (times := [r.seconds_per_iteration for r in results if r.machine == machine])
    )
    gains = [g for result in results if (g := _last_fifth(result.validation)) is not None]
    peaks = [result.peak_memory for result in results if result.peak_memory is not None]
    return [
        row.variant.name,
        value,
        seeds,
        '' if row.difference is None else f'{row.difference:+.1f}',
        interval,
        *(_mean_text(results, metric) for metric in _RECORDED),
        f'{fmean(gains):+.1f}' if gains else '',
        f'{results[0].parameters / 1e6:.2f} M',
        str(results[0].receptive_field),
        seconds,
        memory_text(median(peaks)) if peaks else '',
    ]


def _mean_text(results: Sequence[RunResult], metric: str) -> str:
    values = [result.metrics[metric] for result in results if metric in result.metrics]
    return f'{fmean(values):.1f}' if values else ''


def _last_fifth(validation: Sequence[tuple[int, float]]) -> float | None:
    """Return the gain of the metric in the last fifth of training, or None if unknown."""
    end, last = validation[-1]
    gains = (last - value for step, value in validation if abs(step / end - 0.8) < 0.01)
    return next(gains, None)


def draw(study: Study, rows: Sequence[Summary], path: Path) -> None:
    """Draw the metric of every variant and seed, and the dependence that the study examines."""
    rows = [row for row in rows if row.results]
    groups = [list(members) for _, members in groupby(rows, key=lambda row: row.variant.group)]
    figure = style.new_figure(14, max(0.4 * len(rows) + 1.6, 4.5))
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    axes = left.subplots()
    colours = [_colour(index) for index, members in enumerate(groups) for _ in members]
    if len(groups) == 1 and study.against == 'iterations':
        # The colour of a group would be that of its first curve.
        curves = dict(_curve_colours(study, groups[0]))
        colours = [curves[row.variant.name] for row in rows]
    for y, (row, colour) in enumerate(zip(rows, colours)):
        values = [result.metrics[study.metric] for result in row.results.values()]
        axes.plot(values, [y] * len(values), 'o', color=colour, alpha=0.45, markersize=5)
        axes.plot([row.mean], [y], '|', color=colour, markersize=15, markeredgewidth=2.5)
        if row.variant.name == study.baseline:
            axes.axvline(row.mean, color=style.PALE, linewidth=1.2, zorder=0)
    axes.set_yticks(range(len(rows)), [row.variant.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f'{study.metric} (%) of each seed and mean over seeds')
    style.format_axes(axes, grid='x')
    axes.tick_params(axis='y', labelsize=style.NORMAL)
    DRAWINGS[study.against](study, groups, right)
    style.write_figure(figure, path)


def _draw_validation(study: Study, groups: Sequence[Sequence[Summary]], figure: FigureBase) -> None:
    """Draw the validation curves, means over seeds: one panel per group, each with the baseline.

    Only the runs that were validated most often count.
    """
    columns = min(len(groups), 2)
    panels = figure.subplots(
        -(-len(groups) // columns), columns, sharex=True, sharey=True, squeeze=False
    )
    baseline = [row for row in chain(*groups) if row.variant.name == study.baseline]
    for axes, members in zip_longest(panels.flat, groups):
        if members is None:
            axes.remove()
            if len(panels) > 1:
                panels[-2, 1].tick_params(labelbottom=True)
            continue
        colours = dict(_curve_colours(study, members))
        others = [row for row in members if row.variant.name != study.baseline]
        for row in chain(others, baseline):
            colour = colours.get(row.variant.name, _BASELINE_COLOUR)
            curves = [dict(result.validation) for result in row.results.values()]
            most = max(map(len, curves))
            curves = [curve for curve in curves if len(curve) == most]
            steps = sorted(set.intersection(*(set(curve) for curve in curves)))
            means = [np.mean([curve[step] for curve in curves]) for step in steps]
            # A single point has no line.
            marker = 'o' if len(steps) == 1 else ''
            axes.plot(
                steps, means, marker=marker, color=colour, linewidth=1.4, label=row.variant.name
            )
        axes.set_title(members[0].variant.group)
        style.format_axes(axes, grid='both')
        style.legend(axes, loc='best')
    figure.supxlabel('iterations', fontsize=style.NORMAL)
    figure.supylabel(
        f'{study.metric} (%) on the validation images, mean over seeds', fontsize=style.NORMAL
    )


def _draw_receptive_field(
    study: Study, groups: Sequence[Sequence[Summary]], figure: FigureBase
) -> None:
    """Draw the metric of every seed over the backbone's receptive field: one line per group."""
    axes = figure.subplots()
    for index, members in enumerate(groups):
        points = sorted(
            (result.receptive_field, result.metrics[study.metric])
            for row in members
            for result in row.results.values()
        )
        fields = sorted({field for field, _ in points})
        means = [np.mean([value for f, value in points if f == field]) for field in fields]
        axes.plot(*zip(*points), 'o', color=_colour(index), alpha=0.45, markersize=5)
        axes.plot(fields, means, color=_colour(index), label=members[0].variant.group)
    axes.set_xlabel('receptive field of the backbone (columns)')
    axes.set_ylabel(f'{study.metric} (%) on the validation images')
    style.format_axes(axes, grid='both')
    style.legend(axes, fontsize=style.NORMAL)


DRAWINGS = {'iterations': _draw_validation, 'receptive_field': _draw_receptive_field}


def _curve_colours(study: Study, members: Sequence[Summary]) -> Iterator[tuple[str, str]]:
    """Yield each variant of a group with the colour of its curve; the baseline's is black."""
    names = [row.variant.name for row in members]
    others = [name for name in names if name != study.baseline]
    yield from ((name, _colour(index)) for index, name in enumerate(others))
    if study.baseline in names:
        yield study.baseline, _BASELINE_COLOUR


def _colour(index: int) -> str:
    return style.LINE_COLOURS[index % len(style.LINE_COLOURS)]


def write_page(study: Study, rows: Sequence[Summary], folder: Path) -> Path:
    """Write ``NAME.md`` and ``NAME.png`` into a folder and return the path of the page.

    Raises:
        UserError: No run has a result.
    """
    if not any(row.results for row in rows):
        raise UserError(
            f'got no finished run of study {study.name}, expected at least one; run the study '
            'without --only-summary.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    draw(study, rows, folder / f'{study.name}.png')
    letters = machine_letters(rows)
    machines = [
        f'{letter}: {machine}' if len(letters) > 1 else machine
        for machine, letter in letters.items()
    ]
    table = study_table(study, rows)
    not_run = [row.variant.name for row in rows if not (row.results or row.crashes)]
    notes = [
        *([f'Not run yet: {", ".join(not_run)}.'] if not_run else []),
        f'Seeds {", ".join(map(str, study.seeds))}; mean ± standard deviation over the seeds.',
        'Intervals of differences come from resampling the test images and the seeds, the same '
        'for both variants; they need two seeds. Bold intervals exclude 0.',
        *(note for column, note in _NOTES.items() if column in table),
        f'On CPUs, seconds are CPU time. Trained on {"; ".join(machines)}.',
    ]
    parts = [
        f'# {study.title}',
        table,
        f'![{study.title}]({study.name}.png)',
        ' '.join(notes),
    ]
    crashes = [
        f'- {row.variant.name}, seed {seed}: {reason}'
        for row in rows
        for seed, reason in row.crashes.items()
    ]
    if crashes:
        parts.append('Crashed runs, excluded from the means:\n\n' + '\n'.join(crashes))
    page = folder / f'{study.name}.md'
    page.write_text('\n\n'.join(parts) + '\n', encoding='utf-8')
    return page
