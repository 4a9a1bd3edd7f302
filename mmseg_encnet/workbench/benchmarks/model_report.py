"""Tables and pictures of what :mod:`.model` measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from mmseg_encnet.workbench.benchmarks.measure import describe_machine, machine_text
from mmseg_encnet.workbench.benchmarks.model import CONTENDERS, TASKS, Case, Measurement

COLUMNS = ('task', 'contender', 'seconds (min to max)', 'ratio', 'peak memory', 'ratio')


def collect(config: str, case: Case, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Everything that was measured, and where, ready for a JSON file."""
    return dict(
        machine=describe_machine(torch.device(case.device)),
        config=config,
        case=asdict(case),
        measurements=[measurement.as_json() for measurement in measurements],
    )


def caption(results: dict[str, Any]) -> str:
    """What and where, in one line."""
    case = results['case']
    return (
        f'{results["config"]}, {case["height"]}x{case["width"]}, batch {case["batch"]} in '
        f'training and 1 at inference; {machine_text(results["machine"])}'
    )


def table_rows(results: dict[str, Any]) -> list[list[str]]:
    """Cells for :data:`COLUMNS`; ratios are against the toolbox's own head."""
    rows = []
    for task, by_contender in _by_task(results).items():
        baseline = by_contender[next(iter(CONTENDERS))]
        for name, row in by_contender.items():
            rows.append(
                [
                    task,
                    name,
                    f'{row["median"]:.3g} ({min(row["seconds"]):.3g} to {max(row["seconds"]):.3g})',
                    f'{row["median"] / baseline["median"]:.2f}',
                    f'{row["peak_bytes"] / 2**30:.2f} GiB',
                    f'{row["peak_bytes"] / baseline["peak_bytes"]:.2f}',
                ]
            )
    return rows


def markdown(results: dict[str, Any]) -> str:
    """The table and its caption as Markdown."""
    lines = [f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|']
    lines += [f'| {" | ".join(row)} |' for row in table_rows(results)]
    return '\n'.join([*lines, '', caption(results)])


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw medians of time and peak memory as bars."""
    figure = Figure(figsize=(9, 3.6), dpi=130, layout='constrained')
    by_task = _by_task(results)
    panels = (('median seconds', 'median', 1), ('peak memory, GiB', 'peak_bytes', 2**30))
    for axis, (title, key, unit) in zip(figure.subplots(1, 2), panels):
        for index, name in enumerate(CONTENDERS):
            values = [by_task[task][name][key] / unit for task in TASKS]
            positions = [place + 0.36 * (index - 0.5) for place in range(len(TASKS))]
            bars = axis.bar(
                positions, values, width=0.34, label=name, color=('#999999', '#0072B2')[index]
            )
            axis.bar_label(bars, fmt='%.2f', padding=2, fontsize=9)
        axis.set_xticks(range(len(TASKS)), TASKS)
        axis.set_title(title)
        axis.margins(y=0.15)
        axis.spines[['top', 'right']].set_visible(False)
    figure.legend(
        *axis.get_legend_handles_labels(), loc='outside lower center', ncols=2, frameon=False
    )
    figure.savefig(path)


def _by_task(results: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    grouped: dict[str, dict[str, dict[str, Any]]] = {task: {} for task in TASKS}
    for row in results['measurements']:
        grouped[row['task']][row['contender']] = row
    return grouped
