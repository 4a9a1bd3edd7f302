"""Runs as the page shows them, and the sections of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmseg_encnet.workbench.reporting.evaluation_record import EvaluationRecord
from mmseg_encnet.workbench.reporting.figures import Picture, Style
from mmseg_encnet.workbench.reporting.run_record import RunRecord
from mmseg_encnet.workbench.reporting.tables import Cell, Table


@dataclass(frozen=True)
class ReportedRun:
    """A run with its evaluation.

    Attributes:
        name: Name on the page.
        record: Content of its folder.
        config: Its config, or None if unreadable.
        evaluation: The evaluation of its checkpoint, or None.
        problems: One sentence for everything that is missing.
    """

    name: str
    record: RunRecord
    config: Mapping[str, Any] | None
    evaluation: EvaluationRecord | None
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class ShownRun(ReportedRun):
    """A run with its place on the page.

    Attributes:
        letter: Short name in column headers.
        style: Label and colour.
    """

    letter: str = field(kw_only=True)
    style: Style = field(kw_only=True)

    @property
    def label(self) -> str:
        return self.style.label


@dataclass(frozen=True)
class Section:
    """A section of the page, in this order.

    Attributes:
        title: Heading.
        anchor: Fragment identifier.
        notes: Paragraphs.
        tables: Tables.
        pictures: Figures.
        after: Tables beside the last figure, or below where the page is narrow.
        layout: Layout of the figures: ``grid`` of small ones, ``row`` of large ones, ``pairs`` of
            large ones to compare.
    """

    title: str
    anchor: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    after: Sequence[Table] = ()
    layout: str = 'grid'


def evaluated(shown: Sequence[ShownRun]) -> list[ShownRun]:
    """Return the runs with an evaluation."""
    return [run for run in shown if run.evaluation]


def missing(
    shown: Sequence[ShownRun],
    what: str,
    there: Callable[[ShownRun], Any] = lambda run: run.evaluation,
    why: str = 'its checkpoint was not evaluated (see above)',
) -> list[str]:
    """Return a sentence for each run without content in a section."""
    return [f'No {what} for {run.label}: {why}.' for run in shown if not there(run)]


def groups_by_classes(shown: Sequence[ShownRun]) -> list[list[ShownRun]]:
    """Return the evaluated runs, grouped by their classes."""
    groups = defaultdict(list)
    for run in evaluated(shown):
        groups[tuple(run.evaluation.classes)].append(run)
    return list(groups.values())


def apart(groups: Sequence[Sequence[ShownRun]]) -> list[str]:
    """Return a sentence about runs with different classes, if there are any."""
    if len(groups) < 2:
        return []
    sizes = '; '.join(
        f'{", ".join(run.label for run in group)} with {len(group[0].evaluation.classes)} classes'
        for group in groups
    )
    return [f'Classes are compared only between runs with the same classes: {sizes}.']


def compares(run: ShownRun, first: ShownRun) -> bool:
    """Return whether a run is comparable with the first, on the same data set."""
    if run is first or not (run.evaluation and first.evaluation):
        return run is not first
    return run.evaluation.dataset == first.evaluation.dataset


def of_runs(title: str, runs: Sequence[ShownRun], shown: Sequence[ShownRun]) -> str:
    """Return a title that names the runs, unless they are all."""
    if len(runs) == len(shown):
        return title
    return f'{title}: {", ".join(run.label for run in runs)}'


def run_cell(run: ShownRun) -> Cell:
    """Return the heading cell of a run."""
    return Cell(run.label, colour=run.style.colour)
