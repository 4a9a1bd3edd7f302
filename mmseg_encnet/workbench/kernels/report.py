"""The report of the compiled kernels and their predicted times."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.encode.triton.tiles import MOST_CODES
from mmseg_encnet.ops.upsampled_cross_entropy.triton.tiles import VARIANTS
from mmseg_encnet.workbench.formatting import markdown_table, memory_text
from mmseg_encnet.workbench.kernels import CODES, encoding, loss
from mmseg_encnet.workbench.kernels.compiled import DTYPES, Compiled
from mmseg_encnet.workbench.kernels.cost import Shape, predict
from mmseg_encnet.workbench.kernels.hardware import ARCHITECTURES, CARDS

SHAPES = tuple(
    Shape(batch, 512, size, size, codes)
    for batch, size, codes in ((2, 60, 32), (4, 60, 32), (16, 90, 32), (16, 90, 128))
)
LOSS_SHAPES = tuple(
    loss.Shape(*sizes) for sizes in ((2, 19, 60), (2, 59, 60), (2, 150, 60), (16, 150, 90))
)
COMPILED_COLUMNS = (
    'kernel', 'architecture', 'input', 'case', 'tiles', 'registers', 'spilled bytes',
    'shared memory', 'tensor-core instructions', 'programs', 'occupancy', 'tiles in flight',
)  # fmt: skip
SUMMARY_PRODUCTS = ('instructions', 'how many')
PREDICTED_COLUMNS = (
    'card', 'features', 'shape', 'forward (us)', 'x one crossing', 'forward + backward (us)',
    'x one crossing', 'limited by', 'memory traffic',
)  # fmt: skip
PREDICTED_LOSS_COLUMNS = (
    'card', 'logits', 'shape', 'forward + backward (us)', 'limited by', 'memory traffic',
    'peak beyond inputs and gradient', "PyTorch's (us)", "PyTorch's traffic",
)  # fmt: skip


def _compile(case: tuple[bool, str, int, str, Any, int]) -> Compiled:
    of_loss, *kernel, tiles = case
    return (loss if of_loss else encoding).compile_kernel(*kernel, tiles=tiles)


def compile_all(
    architectures: Iterable[int] = tuple(ARCHITECTURES),
    dtypes: Iterable[str] = tuple(DTYPES),
    codes: Iterable[int] = CODES,
    jobs: int = 1,
    candidates: bool = True,
) -> list[Compiled]:
    """Compile the kernels of the encoding that read features, and those of the loss.

    All combinations, about three seconds each.

    Args:
        architectures: Compute capabilities without the point.
        dtypes: Names of dtypes of the features.
        codes: Numbers of codewords.
        jobs: Processes that compile in parallel.
        candidates: Whether to compile all tile sizes that ``auto`` times, or the default alone.

    Raises:
        UserError: The kernels do not take such a number of codewords.
    """
    codes = tuple(codes)
    if not 1 <= min(codes) <= max(codes) <= MOST_CODES:
        raise UserError(f'codewords must be 1 to {MOST_CODES}, got {", ".join(map(str, codes))}')
    architectures, dtypes = tuple(architectures), tuple(dtypes)
    cases: list[tuple[bool, str, int, str, Any, int]] = [
        (False, kernel, architecture, dtype, size, tiles)
        for architecture, dtype, size in product(architectures, dtypes, codes)
        for kernel, tiles in encoding.distinct_kernels(size, dtype)
        if candidates or tiles == 0
    ]
    numbers = range(len(VARIANTS) if candidates else 1)
    cases += [
        (True, kernel, architecture, dtype, options, tiles)
        for kernel, architecture, dtype, options, tiles in product(
            loss.STREAMING, architectures, dtypes, loss.OPTIONS, numbers
        )
    ]
    with multiprocessing.get_context('spawn').Pool(jobs) as pool:
        return list(pool.imap(_compile, cases))


def compiled_table(rows: Sequence[Compiled]) -> str:
    """Return what the kernels compile to, as Markdown."""
    return markdown_table(
        COMPILED_COLUMNS,
        [
            (
                row.kernel,
                row.architecture.name,
                row.dtype,
                row.case,
                str(row.tiles),
                str(row.registers),
                str(row.spilled),
                memory_text(row.shared),
                ', '.join(f'{n} {name}' for name, n in row.products.items()),
                str(row.programs),
                f'{row.occupancy:.0%}',
                str(row.tiles_in_flight),
            )
            for row in rows
        ],
    )


def summary_table(rows: Sequence[Compiled]) -> str:
    """Return one line per operator, architecture and dtype: the range over kernels and cases."""
    lines = []

    def group_of(row: Compiled) -> tuple[bool, Any, str]:
        return row.multiplies, row.architecture, row.dtype

    for multiplies, architecture, dtype in dict.fromkeys(map(group_of, rows)):
        group = [r for r in rows if group_of(r) == (multiplies, architecture, dtype)]
        names = sorted({name for row in group for name in row.products})

        def span(values: Iterable[Any], text: Any = str) -> str:
            low, high = min(values := list(values)), max(values)
            return text(low) if low == high else f'{text(low)} to {text(high)}'

        lines.append(
            (
                'encoding' if multiplies else 'loss',
                architecture.name,
                dtype,
                span(row.registers for row in group),
                span(row.spilled for row in group),
                span((row.shared for row in group), memory_text),
                ', '.join(names),
                span(sum(row.products.values()) for row in group),
                span(row.programs for row in group),
                span((row.occupancy for row in group), '{:.0%}'.format),
                span(row.tiles_in_flight for row in group),
            )
        )
    return markdown_table(
        (
            'operator',
            *COMPILED_COLUMNS[1:3],
            *COMPILED_COLUMNS[5:8],
            *SUMMARY_PRODUCTS,
            *COMPILED_COLUMNS[9:],
        ),
        lines,
    )


def predicted_table(
    shapes: Iterable[Shape] = SHAPES, dtypes: Iterable[str] = ('float32', 'bfloat16')
) -> str:
    """Return the least times of the kernels on cards, as Markdown."""
    lines = []
    for card, dtype, shape in product(CARDS, dtypes, shapes):
        forward, step = (predict(shape, dtype, card, backward) for backward in (False, True))
        lines.append(
            (
                card.name,
                dtype,
                str(shape),
                f'{1e6 * forward.seconds:.0f}',
                f'{forward.seconds / forward.floor:.1f}',
                f'{1e6 * step.seconds:.0f}',
                f'{step.seconds / step.floor:.1f}',
                'memory' if step.memory > step.products else 'products',
                memory_text(step.num_bytes),
            )
        )
    return markdown_table(PREDICTED_COLUMNS, lines)


def predicted_loss_table(
    shapes: Iterable[loss.Shape] = LOSS_SHAPES, dtypes: Iterable[str] = ('float32', 'bfloat16')
) -> str:
    """Return the least times of the kernels of the loss on cards, as Markdown."""
    lines = []
    for card, dtype, shape in product(CARDS, dtypes, shapes):
        step = loss.predict(shape, dtype, card)
        lines.append(
            (
                card.name,
                dtype,
                str(shape),
                f'{1e6 * step.seconds:.0f}',
                'memory' if step.memory > step.exponentials else 'exponentials',
                memory_text(step.num_bytes),
                memory_text(step.peak_bytes),
                f'{1e6 * step.pytorch_seconds:.0f}',
                memory_text(step.pytorch_bytes),
            )
        )
    return markdown_table(PREDICTED_LOSS_COLUMNS, lines)


def faults(rows: Iterable[Compiled]) -> list[str]:
    """Return a line for every kernel that would be slow or could not run."""
    return [
        f'{row.kernel} on {row.architecture.name}, {row.dtype}, {row.case}, '
        f'tiles {row.tiles}: {fault}'
        for row in rows
        for fault in row.faults()
    ]


def as_json(rows: Iterable[Compiled]) -> str:
    """Return all measurements of the machine code as JSON."""
    return json.dumps(
        [
            {
                **asdict(row),
                'architecture': row.architecture.name,
                'programs': row.programs,
                'occupancy': row.occupancy,
                'tiles_in_flight': row.tiles_in_flight,
            }
            for row in rows
        ],
        indent=1,
    )
