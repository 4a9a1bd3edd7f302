"""The runs as the page shows them, and what a section of it consists of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmseg_encnet.workbench.reporting.evaluation_record import EvaluationRecord
from mmseg_encnet.workbench.reporting.figures import Picture, Style
from mmseg_encnet.workbench.reporting.run_record import RunRecord
from mmseg_encnet.workbench.reporting.tables import Cell, Table


@dataclass(frozen=True)
class ReportedRun:
    """A run and what of it is known.

    Attributes:
        name: What the page calls it.
        record: Its folder.
        config: Its config; None if it cannot be read.
        evaluation: The evaluation of its checkpoint; None if there is none.
        problems: For everything that is missing one sentence.
    """

    name: str
    record: RunRecord
    config: Mapping[str, Any] | None
    evaluation: EvaluationRecord | None
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class ShownRun:
    """A run with its place on the page."""

    run: ReportedRun
    letter: str
    style: Style

    @property
    def evaluation(self) -> EvaluationRecord | None:
        return self.run.evaluation

    @property
    def label(self) -> str:
        return self.style.label


@dataclass(frozen=True)
class Section:
    """What one section shows.

    Attributes:
        title: Its heading.
        anchor: Where links to it lead.
        notes: Paragraphs.
        tables: What follows them.
        pictures: What follows these.
        after: Tables beside the last picture where there is room, else below.
        layout: Of the pictures: ``grid`` of small ones, ``row`` of large ones, ``pairs`` of large
            ones that are compared.
    """

    title: str
    anchor: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    after: Sequence[Table] = ()
    layout: str = 'grid'


def evaluated(shown: Sequence[ShownRun]) -> list[ShownRun]:
    """The runs with an evaluation."""
    return [run for run in shown if run.evaluation]


def missing(
    shown: Sequence[ShownRun],
    what: str,
    there: Callable[[ShownRun], Any] = lambda run: run.evaluation,
    why: str = 'its checkpoint was not evaluated, see above',
) -> list[str]:
    """A sentence for each run that has nothing to show in a section."""
    return [f'No {what} for {run.label}: {why}.' for run in shown if not there(run)]


def groups_by_classes(shown: Sequence[ShownRun]) -> list[list[ShownRun]]:
    """The evaluated runs, those with the same classes together."""
    groups = defaultdict(list)
    for run in evaluated(shown):
        groups[tuple(run.evaluation.classes)].append(run)
    return list(groups.values())


def apart(groups: Sequence[Sequence[ShownRun]]) -> list[str]:
    """A sentence about runs whose classes differ, if there are any."""
    if len(groups) < 2:
        return []
    sizes = '; '.join(
        f'{", ".join(run.label for run in group)} with {len(group[0].evaluation.classes)} classes'
        for group in groups
    )
    return [f'The class lists do not match, so classes are compared within each only: {sizes}.']


def compares(run: ShownRun, first: ShownRun) -> bool:
    """Whether a run's difference from the first means anything: not from another data set."""
    if run is first or not (run.evaluation and first.evaluation):
        return run is not first
    return run.evaluation.dataset == first.evaluation.dataset


def of_runs(title: str, runs: Sequence[ShownRun], shown: Sequence[ShownRun]) -> str:
    """A title that names the runs where they are not all."""
    if len(runs) == len(shown):
        return title
    return f'{title}: {", ".join(run.label for run in runs)}'


def run_cell(run: ShownRun) -> Cell:
    """The cell that names a run."""
    return Cell(run.label, colour=run.style.colour)
