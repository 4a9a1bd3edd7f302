"""Table and figure of the inference benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.benchmarks.inference import MMSEG, NETWORKS
from mmseg_encnet.workbench.formatting import markdown_table, memory_text, number_text
from mmseg_encnet.workbench.machine import machine_text

COLUMNS = (
    'network', 'runtime', 'precision', 'seconds (min to max)', 'times faster', 'peak memory',
)  # fmt: skip
_NAMES = dict(torch='PyTorch', onnxruntime='ONNX Runtime', openvino='OpenVINO')


def markdown(results: dict[str, Any]) -> str:
    """Return the table as Markdown, followed by the cost of the context and the machine."""
    rows = []
    baseline = results['measurements'][0]['median']
    for row in results['measurements']:
        seconds = row['seconds']
        times = f'{row["median"]:.3g} ({min(seconds):.3g} to {max(seconds):.3g})'
        faster = f'{baseline / row["median"]:.2f}'
        rows.append([*_name(row), times, faster, memory_text(row['peak_bytes'])])
    for row in results['not_measured']:
        rows.append([*_name(row), f'not measured: {row["reason"]}', '', ''])
    context, training, case = (results[key] for key in ('context', 'training', 'case'))
    configs = ', '.join(f'{config} ({name})' for name, config in results['configs'].items())
    return '\n\n'.join(
        (
            markdown_table(COLUMNS, rows),
            f'One image with presence and suppression: {number_text(context["with"])} s, without '
            f'SE branch: {number_text(context["without"])} s (PyTorch, float32).',
            f'SE loss and presence targets: {100 * training["se"] / training["step"]:.2g} % of a '
            f'training step of {number_text(training["step"])} s.',
            f'{configs}, one image of {case["height"]}x{case["width"]}; '
            f'{machine_text(results["machine"])}',
        )
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw median times and peak memory as bars."""
    figure = style.new_figure(9, 4.2)
    colours = dict(zip((MMSEG, *NETWORKS), (style.PALETTE[6], style.BLUE, style.PALETTE[5])))
    rows = results['measurements']
    panels = (('Median time (ms)', 'median', 1e-3), ('Peak memory (GiB)', 'peak_bytes', 2**30))
    for axes, (title, key, unit) in zip(figure.subplots(1, 2, sharey=True), panels):
        for network, colour in colours.items():
            places = [i for i, row in enumerate(rows) if row['network'] == network]
            values = [rows[i][key] / unit for i in places]
            bars = axes.barh(places, values, color=colour, label=network)
            axes.bar_label(bars, fmt=number_text, padding=2, fontsize=style.SMALL)
        axes.set_title(title)
        axes.margins(x=0.15)
        style.format_axes(axes)
        axes.set_yticks(range(len(rows)), [' '.join(_name(row)[1:]) for row in rows])
    axes.invert_yaxis()
    style.legend_below(figure, axes, len(colours))
    style.write_figure(figure, path)


def _name(row: dict[str, Any]) -> list[str]:
    return [row['network'], _NAMES[row['runtime']], row['precision']]
