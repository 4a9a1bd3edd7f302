"""Table and figure of the loss benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.benchmarks.loss import CONTENDERS, RESIZED
from mmseg_encnet.workbench.formatting import markdown_table, memory_text, number_text
from mmseg_encnet.workbench.machine import machine_text

COLUMNS = (
    'classes',
    'contender',
    'forward + backward (ms)',
    'times faster',
    'peak without inputs and gradients',
    'kept for backward',
)


def markdown(results: dict[str, Any]) -> str:
    """Return the table as Markdown, followed by the machine."""
    rows = []
    baseline = _baselines(results)
    for row in results['rows']:
        rows.append(
            [
                str(row['classes']),
                row['contender'],
                number_text(row['step_ms']),
                f'{baseline[row["classes"]] / row["step_ms"]:.1f}',
                memory_text(row['peak_bytes']),
                memory_text(row['kept_bytes']),
            ]
        )
    for name, reason in results['not_measured'].items():
        rows.append(['all', name, f'not measured: {reason}', *[''] * 3])
    return f'{markdown_table(COLUMNS, rows)}\n\n{caption(results)}'


def caption(results: dict[str, Any]) -> str:
    """Return the sizes and the machine as one line."""
    case = results['cases'][0]
    labels = case['size'] * case['stride']
    return (
        f'{case["batch"]} images, logits of {case["size"]}x{case["size"]}, labels of '
        f'{labels}x{labels}; {machine_text(results["machine"])}'
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw median times and peak memory as bars."""
    figure = style.new_figure(9, 3.8)
    classes = [case['classes'] for case in results['cases']]
    names = [name for name in CONTENDERS if name not in results['not_measured']]
    colours = dict(
        zip(CONTENDERS, (style.PALETTE[6], style.BLUE, style.PALETTE[5], style.PALETTE[2]))
    )
    panels = (
        ('Forward and backward (ms)', 'step_ms', 1),
        ('Peak without inputs and gradients (MiB)', 'peak_bytes', 2**20),
    )
    for axes, (title, key, unit) in zip(figure.subplots(1, 2), panels):
        for index, name in enumerate(names):
            rows = [row for row in results['rows'] if row['contender'] == name]
            width = 0.8 / len(names)
            positions = [place + width * (index + 0.5) - 0.4 for place in range(len(classes))]
            bars = axes.bar(
                positions,
                [row[key] / unit for row in rows],
                width=0.94 * width,
                label=name,
                color=colours[name],
            )
            axes.bar_label(bars, fmt=number_text, padding=2, fontsize=style.SMALL)
        axes.set_xticks(range(len(classes)), [f'{number} classes' for number in classes])
        axes.set_title(title)
        axes.margins(y=0.15)
        style.format_axes(axes)
    style.legend_below(figure, axes, len(names))
    style.write_figure(figure, path)


def _baselines(results: dict[str, Any]) -> dict[int, float]:
    return {
        row['classes']: row['step_ms'] for row in results['rows'] if row['contender'] == RESIZED
    }
