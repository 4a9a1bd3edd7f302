"""Tables and figure of the encoding benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.benchmarks.encode import COMPILED, MMSEG, PRODUCTS
from mmseg_encnet.workbench.formatting import markdown_table, memory_text, number_text
from mmseg_encnet.workbench.machine import machine_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = (
    'features',
    'contender',
    'forward (ms)',
    'x products',
    'forward + backward (ms)',
    'x products',
    'kept for backward',
    'peak without inputs and gradients (x features)',
)


def machine_line(results: dict[str, Any]) -> str:
    """Return the machine and its measured peaks as one line."""
    roofline = results['roofline']
    return (
        f'{machine_text(results["machine"])}; measured peaks {roofline["gflops"]:.0f} '
        f'GFLOP/s, {roofline["gb_per_s"]:.0f} GB/s'
    )


def markdown(results: dict[str, Any]) -> str:
    """Return the tables as Markdown, followed by the machine."""
    rows = []
    products: dict[str, Any] = {}
    for row in results['shapes']:
        if row['contender'] == PRODUCTS:
            products = row
        cells = [row['shape'], row['contender']]
        for key in ('forward_ms', 'step_ms'):
            cells.append(number_text(row[key]))
            cells.append(f'{row[key] / products[key]:.2f}' if products else '')
        memory = 'kept_bytes' in row
        cells.append(memory_text(row['kept_bytes']) if memory else '')
        cells.append(f'{row["peak_x"]:.2f}' if memory else '')
        rows.append(cells)
    for shape, name in results['too_large']:
        rows.append([shape, name, 'not measured: more memory than the GPU has', *[''] * 5])
    for name, reason in results['not_measured'].items():
        rows.append(['all', name, f'not measured: {reason}', *[''] * 5])
    presence = [[row['contender'], number_text(row['ms'])] for row in results['presence']]
    tables = (
        markdown_table(COLUMNS, rows),
        markdown_table(('presence vector of 16 x 480 x 480 labels', 'ms'), presence),
        machine_line(results),
    )
    return '\n\n'.join(tables)


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the times with the roofline, and their growth with each size."""
    growth = results['growth']
    contenders = sum(row['contender'] in COLOURS for row in results['shapes'])
    figure = style.new_figure(6 + 3.6 * len(growth), max(4.4, 1.8 + 0.16 * contenders))
    first, *others = figure.subplots(1, 1 + len(growth), squeeze=False)[0]
    _plot_times(first, results)
    for name, axes in zip(growth, others):
        _plot_growth(axes, name, growth[name])
    style.add_title(figure, note=machine_line(results))
    style.write_figure(figure, path)


COLOURS = dict(
    zip(
        (MMSEG, PRODUCTS, 'native', 'dense', 'triton', 'mmcv', COMPILED),
        (style.VERMILION, style.PALETTE[6], style.BLUE, *(style.PALETTE[i] for i in (5, 2, 3, 4))),
    )
)


def _plot_times(axes: Axes, results: dict[str, Any]) -> None:
    times = {(r['shape'], r['contender']): r['step_ms'] for r in results['shapes']}
    middles, labelled, top = {}, set(), 0.0
    for case in results['cases']:
        shape = case['name']
        names = [name for name in COLOURS if (shape, name) in times]
        for row, name in enumerate(names):
            bars = axes.barh(
                top + row,
                times[shape, name],
                1,
                color=COLOURS[name],
                label=None if name in labelled else name,
            )
            labelled.add(name)
            axes.bar_label(
                bars, fmt=lambda t: f' {t:.3g}' if t < 1000 else f' {t:,.0f}', fontsize=style.SMALL
            )
        ends = top - 0.6, top + len(names) - 0.4
        label = None if middles else 'roofline'
        axes.vlines(times[shape, 'roofline'], *ends, 'k', ':', label=label)
        middles[shape] = sum(ends) / 2
        top += len(names) + 0.7
    axes.set(xscale='log', yticks=list(middles.values()), yticklabels=list(middles))
    axes.set_xlim(right=3 * max(times.values()))
    axes.invert_yaxis()
    axes.set_xlabel('forward and backward (ms)')
    case = results['cases'][0]
    axes.set_title(
        f'B {case["batch"]}, C {case["channels"]}, {case["height"]} x {case["width"]}, '
        f'K {case["codes"]}'
    )
    style.legend(axes, loc='lower left', bbox_to_anchor=(0, 1.06), ncols=3)
    style.format_axes(axes)


def _plot_growth(axes: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    for contender, colour in (*COLOURS.items(), ('roofline', 'k')):
        points = [
            (int(row['shape'].split()[-1]), row['step_ms'])
            for row in rows
            if row['contender'] == contender
        ]
        if points:
            line = ':' if contender == 'roofline' else 'o-'
            axes.plot(*zip(*points), line, color=colour, label=contender, markersize=3.5)
    sizes = sorted({int(row['shape'].split()[-1]) for row in rows})
    axes.set_xscale('log', base=2)
    axes.set_yscale('log')
    axes.set(xlabel=name, ylabel='forward and backward (ms)')
    axes.set_xticks(sizes, [f'{size:,}' for size in sizes])
    axes.minorticks_off()
    axes.set_title({'N': 'positions', 'B': 'images', 'K': 'codewords'}.get(name, name))
    style.format_axes(axes, grid='both')
