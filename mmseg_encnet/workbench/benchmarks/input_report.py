"""Tables and figure of the input benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.benchmarks.input import KERNELS, PILLOW, PLAIN
from mmseg_encnet.workbench.formatting import markdown_table, number_text
from mmseg_encnet.workbench.machine import machine_text

COLUMNS = (
    'data set',
    'image',
    'contender',
    'samples per second and core',
    'ms per sample',
    'times faster',
    'same bits',
)


def markdown(results: dict[str, Any]) -> str:
    """Return the tables as Markdown, followed by the machine."""
    cases = {case['data']: case for case in results['cases']}
    baseline = _baselines(results)
    rows = []
    for row in results['rows']:
        case = cases[row['data']]
        rows.append(
            [
                row['data'],
                f'{case["width"]}x{case["height"]}, {case["image_bytes"] / 1e3:.0f} kB',
                row['contender'],
                number_text(row['per_second']),
                number_text(row['sample_ms']),
                f'{baseline[row["data"]] / row["sample_ms"]:.1f}',
                'yes' if row['equal'] else 'NO',
            ]
        )
    return '\n\n'.join((markdown_table(COLUMNS, rows), _steps(results), caption(results)))


def _steps(results: dict[str, Any]) -> str:
    """Return a table of the time of each transform for the first data set."""
    first = results['cases'][0]['data']
    rows = [row for row in results['rows'] if row['data'] == first]
    names = list(dict.fromkeys(name for row in rows for name in row['steps']))
    table = [
        [name, *(number_text(row['steps'][name]) if name in row['steps'] else '' for row in rows)]
        for name in names
    ]
    header = (f'{first} (ms per sample)', *(row['contender'] for row in rows))
    return markdown_table(header, table)


def caption(results: dict[str, Any]) -> str:
    """Return the machine as one line."""
    machine = machine_text(results['machine'])
    return f'Training pipelines of the shipped configs, processor time of one core; {machine}'


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the samples per second as bars."""
    figure = style.new_figure(8, 3.6)
    axes = figure.subplots()
    data = [case['data'] for case in results['cases']]
    colours = {PLAIN: style.PALETTE[6], PILLOW: style.PALETTE[5], KERNELS: style.BLUE}
    names = list(dict.fromkeys(row['contender'] for row in results['rows']))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        heights = [row['per_second'] for row in results['rows'] if row['contender'] == name]
        positions = [place + width * (index + 0.5) - 0.4 for place in range(len(data))]
        bars = axes.bar(positions, heights, width=0.94 * width, label=name, color=colours[name])
        axes.bar_label(bars, fmt=number_text, padding=2, fontsize=style.SMALL)
    axes.set_xticks(range(len(data)), data)
    axes.set_title('Augmented samples per second and core')
    axes.margins(y=0.15)
    style.format_axes(axes)
    style.legend_below(figure, axes, len(names))
    style.write_figure(figure, path)


def _baselines(results: dict[str, Any]) -> dict[str, float]:
    return {row['data']: row['sample_ms'] for row in results['rows'] if row['contender'] == PLAIN}
