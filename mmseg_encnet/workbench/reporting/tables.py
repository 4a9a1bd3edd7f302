"""The tables of the report: what stands in a cell, and what it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What stands in it.
        key: What it is sorted by, the text if None; a cell that has nothing sorts last.
        note: Small text below, such as the difference from the first run.
        bar: Length of a bar behind the text, 0 to 100.
        colour: Colour of the bar, or of the patch before the text where there is no bar.
    """

    text: str
    key: float | str | None = None
    note: str = ''
    bar: float | None = None
    colour: str | None = None

    @property
    def sort_key(self) -> str:
        """The key as the page's script reads it."""
        return str(self.text if self.key is None else self.key)


@dataclass(frozen=True)
class Table:
    """A table whose columns can be sorted.

    Attributes:
        caption: What it shows.
        headers: Titles of the columns; of text, or of numbers if in ``numeric``.
        rows: The cells; the first of each row names it.
        numeric: Indices of the columns of numbers.
        folded: Whether it is shown on demand only.
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
    unit: str = '',
    reference: float | None = None,
    bar: str | None = None,
    full: float = 100,
) -> Cell:
    """A cell with a number.

    Args:
        value: The number; None and what is not finite are a cell with nothing.
        digits: Digits after the point.
        unit: Stands behind the number.
        reference: What the difference in the note is taken from.
        bar: Colour of a bar behind it.
        full: The number whose bar is full.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    note = ''
    if reference is not None and not math.isnan(reference):
        note = f'{value - reference:+.{digits}f}'
    return Cell(f'{value:.{digits}f}{unit}', value, note, 100 * value / full if bar else None, bar)


def difference(value: float, reference: float, digits: int = 1) -> Cell:
    """A cell with how much a number is above another; nothing if one of them is nan."""
    if math.isnan(value) or math.isnan(reference):
        return NOTHING
    return Cell(f'{value - reference:+.{digits}f}', value - reference)


def scaled(value: float | None, factor: int, units: Iterable[str]) -> Cell:
    """A cell with a quantity in the unit that leaves one to three (or four) digits before the
    point."""
    if value is None:
        return NOTHING
    amount, units = float(value), list(units)
    power = 0
    while amount >= factor and power < len(units) - 1:
        amount /= factor
        power += 1
    text = f'{amount:.0f}' if power == 0 else f'{amount:.3g}' if amount < 100 else f'{amount:.0f}'
    return Cell(f'{text} {units[power]}'.strip(), value)


def count(value: float | None) -> Cell:
    """A cell with a large number, such as 1.23 M."""
    return scaled(value, 1000, ('', 'k', 'M', 'G'))


def memory(value: float | None) -> Cell:
    """A cell with bytes, such as 12.3 MiB."""
    return scaled(value, 1024, ('B', 'KiB', 'MiB', 'GiB'))


def number_table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    texts: int = 1,
    folded: bool = False,
) -> Table:
    """A table whose columns are numbers apart from the first."""
    return Table(caption, headers, rows, frozenset(range(texts, len(headers))), folded)
