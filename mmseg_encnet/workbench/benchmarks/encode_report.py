"""Tables and figure of the encoding benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg_encnet.workbench.benchmarks.encode import MMSEG, PRODUCTS
from mmseg_encnet.workbench.formatting import markdown_table, memory_text
from mmseg_encnet.workbench.machine import machine_text

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
            cells.append(_milliseconds(row[key]))
            cells.append(f'{row[key] / products[key]:.2f}' if products else '')
        memory = 'kept_bytes' in row
        cells.append(memory_text(row['kept_bytes']) if memory else '')
        cells.append(f'{row["peak_x"]:.2f}' if memory else '')
        rows.append(cells)
    for name, reason in results['not_measured'].items():
        rows.append(['all', name, f'not measured: {reason}', *[''] * 5])
    presence = [[row['contender'], _milliseconds(row['ms'])] for row in results['presence']]
    tables = (
        markdown_table(COLUMNS, rows),
        markdown_table(('presence vector of 16 x 480 x 480 labels', 'ms'), presence),
        machine_line(results),
    )
    return '\n\n'.join(tables)


def _milliseconds(value: float) -> str:
    return f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw times beside the roofline, and growth, to an image file."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    axes_names = list(results['growth'])
    figure, axes = pyplot.subplots(
        1, 1 + len(axes_names), figsize=(6 + 3.6 * len(axes_names), 4.4), layout='constrained'
    )
    axes = [axes] if not axes_names else list(axes)
    _plot_times(axes[0], results)
    for name, axis in zip(axes_names, axes[1:]):
        _plot_growth(axis, name, results['growth'][name])
    figure.suptitle(machine_line(results), fontsize=8, color='0.35')
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


COLORS = {
    PRODUCTS: '0.6',
    'native': '#1f6fb4',
    'dense': '#7fb3da',
    'triton': '#2a9d5c',
    'mmcv': '#8e5ea2',
    MMSEG: '#d1603d',
}


def _plot_times(axis: Any, results: dict[str, Any]) -> None:
    shapes = [case['name'] for case in results['cases']]
    names = [name for name in COLORS if any(r['contender'] == name for r in results['shapes'])]
    times = {(r['shape'], r['contender']): r['step_ms'] for r in results['shapes']}
    height = 0.8 / len(names)
    for i, name in enumerate(names):
        places = {
            j + (i + 0.5) * height - 0.4: times[shape, name]
            for j, shape in enumerate(shapes)
            if (shape, name) in times
        }
        bars = axis.barh(
            list(places), list(places.values()), height, label=name, color=COLORS[name]
        )
        axis.bar_label(bars, fmt=lambda t: f' {t:.3g}' if t < 1000 else f' {t:,.0f}', fontsize=7)
    for j, shape in enumerate(shapes):
        axis.vlines(
            times[shape, 'roofline'], j - 0.42, j + 0.42, 'k', ':', label=None if j else 'roofline'
        )
    axis.set(xscale='log', yticks=range(len(shapes)), yticklabels=shapes)
    axis.set_xlim(right=3 * max(times.values()))
    axis.invert_yaxis()
    axis.set_xlabel('ms, forward and backward')
    case = results['cases'][0]
    axis.set_title(
        f'B {case["batch"]}, C {case["channels"]}, {case["height"]} x {case["width"]}, '
        f'K {case["codes"]}',
        fontsize=9,
    )
    axis.legend(fontsize=7, loc='lower left', bbox_to_anchor=(0, 1.06), ncols=3, frameon=False)
    axis.spines[['top', 'right']].set_visible(False)


def _plot_growth(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    for contender, color in (*COLORS.items(), ('roofline', 'k')):
        points = [
            (int(row['shape'].split()[-1]), row['step_ms'])
            for row in rows
            if row['contender'] == contender
        ]
        if points:
            style = ':' if contender == 'roofline' else 'o-'
            axis.plot(*zip(*points), style, color=color, label=contender, markersize=3.5)
    sizes = [int(row['shape'].split()[-1]) for row in rows]
    axis.set_xscale('log', base=2)
    axis.set_yscale('log')
    axis.set(xlabel=name, ylabel='ms, forward and backward')
    axis.set_xticks(sorted(set(sizes)), [f'{size:,}' for size in sorted(set(sizes))], fontsize=7)
    axis.minorticks_off()
    axis.set_title({'N': 'positions', 'B': 'images', 'K': 'codewords'}.get(name, name), fontsize=9)
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
