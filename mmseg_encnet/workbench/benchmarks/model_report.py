"""Table and figure of the model benchmark."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.benchmarks.model import CONTENDERS, TASKS
from mmseg_encnet.workbench.formatting import markdown_table, memory_text
from mmseg_encnet.workbench.machine import machine_text

COLUMNS = (
    'task', 'contender', 'seconds (min to max)', 'ratio', 'peak memory', 'ratio', 'planned',
    'synchronisations',
)  # fmt: skip


def markdown(results: dict[str, Any]) -> str:
    """Return the table as Markdown; ratios are relative to mmseg's head."""
    rows = []
    for task, by_contender in _by_task(results).items():
        baseline = by_contender[next(iter(CONTENDERS))]
        for name, row in by_contender.items():
            seconds, peak = row['seconds'], row['peak_bytes']
            times = f'{row["median"]:.3g} ({min(seconds):.3g} to {max(seconds):.3g})'
            slower, larger = (f'{row[key] / baseline[key]:.2f}' for key in ('median', 'peak_bytes'))
            cells = [task, name, times, slower, memory_text(peak), larger]
            planned = results.get('planned', {}).get(task, {}).get(name)
            cells.append('' if planned is None else memory_text(planned))
            count = row['synchronisations']
            rows.append([*cells, '' if count is None else str(count)])
    # Columns that were not measured here are left out.
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    columns, rows = [COLUMNS[i] for i in shown], [[row[i] for i in shown] for row in rows]
    case = results['case']
    classes = '' if case['classes'] is None else f' with {case["classes"]} classes'
    caption = (
        f'{results["config"]}{classes}, {case["height"]}x{case["width"]}, batch {case["batch"]} in '
        f'training and 1 at inference, {case["amp"] or "float32"}; '
        f'{machine_text(results["machine"])}'
    )
    return f'{markdown_table(columns, rows)}\n\n{caption}'


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw median times and peak memory as bars."""
    figure = style.new_figure(9, 4)
    by_task = _by_task(results)
    panels = (('Median time (s)', 'median', 1), ('Peak memory (GiB)', 'peak_bytes', 2**30))
    colours = (style.PALETTE[6], style.BLUE, *style.PALETTE[2:6])
    names = [name for name in CONTENDERS if any(name in rows for rows in by_task.values())]
    width = 0.8 / len(names)
    centres = [
        place + width * fmean(index for index, name in enumerate(names) if name in by_task[task])
        for place, task in enumerate(TASKS)
    ]
    for axes, (title, key, unit) in zip(figure.subplots(1, 2), panels):
        for index, (name, colour) in enumerate(zip(names, colours)):
            shown = [place for place, task in enumerate(TASKS) if name in by_task[task]]
            values = [by_task[TASKS[place]][name][key] / unit for place in shown]
            positions = [place + width * index for place in shown]
            bars = axes.bar(positions, values, width=0.9 * width, label=name, color=colour)
            axes.bar_label(bars, fmt='%.2f', padding=2, fontsize=style.SMALL)
        axes.set_xticks(centres, TASKS)
        axes.set_title(title)
        axes.margins(y=0.15)
        style.format_axes(axes)
    style.legend_below(figure, axes, 2)
    style.write_figure(figure, path)


def _by_task(results: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    grouped: dict[str, dict[str, dict[str, Any]]] = {task: {} for task in TASKS}
    for row in results['measurements']:
        grouped[row['task']][row['contender']] = row
    return grouped
