"""Sortable tables of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmseg_encnet.workbench.formatting import count_text, memory_text


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: Text of the cell.
        key: Sort key, the text if None; empty keys sort last.
        note: Small text below, such as the difference from the first run.
        bar: Length of a bar before the text, 0 to 100.
        colour: Colour of the bar, or of a patch before the text if there is no bar.
    """

    text: str
    key: float | str | None = None
    note: str = ''
    bar: float | None = None
    colour: str | None = None

    @property
    def sort_key(self) -> str:
        """The key as text, for the page's script."""
        return str(self.text if self.key is None else self.key)


@dataclass(frozen=True)
class Table:
    """A table with sortable columns.

    Attributes:
        caption: Title of the table.
        headers: Titles of the columns.
        rows: The cells; the first of each row is its heading.
        numeric: Indices of the columns of numbers.
        folded: Whether the table is collapsed at first.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: frozenset[int] = frozenset()
    folded: bool = False


NOTHING = Cell('\N{EN DASH}', '')


def number(
    value: float | None,
    digits: int = 2,
    reference: float | None = None,
    bar: str | None = None,
    full: float = 100,
) -> Cell:
    """Return a cell with a number.

    Args:
        value: The number; None and non-finite numbers give an empty cell.
        digits: Decimal places.
        reference: A number to which the note gives the difference.
        bar: Colour of a bar.
        full: The number at which the bar is full.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    note = ''
    if reference is not None and not math.isnan(reference):
        note = f'{value - reference:+.{digits}f}'
    return Cell(f'{value:.{digits}f}', value, note, 100 * value / full if bar else None, bar)


def difference(value: float, reference: float, digits: int = 1) -> Cell:
    """Return a cell with ``value - reference``, empty if either is NaN."""
    if math.isnan(value) or math.isnan(reference):
        return NOTHING
    return Cell(f'{value - reference:+.{digits}f}', value - reference)


def count(value: float | None) -> Cell:
    """Return a cell with a large number, for example 1.23 M."""
    return NOTHING if value is None else Cell(count_text(value), value)


def memory(value: float | None) -> Cell:
    """Return a cell with bytes, for example 12.3 MiB."""
    return NOTHING if value is None else Cell(memory_text(value), value)


def number_table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    texts: int = 1,
    folded: bool = False,
) -> Table:
    """Return a table whose columns are numbers after the first ``texts`` ones."""
    return Table(caption, headers, rows, frozenset(range(texts, len(headers))), folded)
