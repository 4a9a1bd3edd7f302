"""Write the report of run folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.disk import check_file
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.explain import explain
from mmseg_encnet.workbench.reporting.evaluation_record import evaluation_record
from mmseg_encnet.workbench.reporting.page import render_page
from mmseg_encnet.workbench.reporting.run_record import RunRecord, Which, read_run
from mmseg_encnet.workbench.reporting.section import ReportedRun


def write_report(
    folders: Sequence[Path],
    out: Path,
    evaluate: bool = True,
    which: Which = 'last',
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the report of one or several runs.

    Evaluations are cached in ``report/`` of each run folder. If a run cannot be evaluated, the
    page says why.

    Args:
        folders: Run folders; the others are compared with the first.
        out: HTML file to write; an error leaves an existing file unchanged.
        evaluate: Whether to evaluate checkpoints, or to read the logs only.
        which: Checkpoint of each run to evaluate.
        options: Overrides of the runs' configs by dotted key, for the evaluation.

    Returns:
        One sentence for everything that is missing from the page.

    Raises:
        UserError: A folder is not a run or is repeated, an option does not match a config, or the
            file cannot be written.
    """
    repeated = [
        folder for folder, times in Counter(map(Path.resolve, folders)).items() if times > 1
    ]
    if repeated:
        raise UserError(f'got run folder {repeated[0]} twice; name each run once.')
    records = [read_run(folder) for folder in folders]
    check_file(out)
    runs = [
        _reported(record, name, evaluate, which, options or {})
        for record, name in zip(records, _names(folders))
    ]
    write_whole(out, render_page(runs).encode(errors='replace'))
    return [f'{run.name}: {problem}' for run in runs for problem in run.problems]


def _reported(
    record: RunRecord, name: str, evaluate: bool, which: Which, options: Mapping[str, Any]
) -> ReportedRun:
    try:
        config = record.config()
    except UserError as error:
        return ReportedRun(name, record, None, None, [f'Its config cannot be loaded: {error}'])
    if not evaluate:
        problem = 'Its checkpoint was not evaluated because of --no-evaluation.'
        return ReportedRun(name, record, config, None, [problem])
    # A wrong option is an error of the command line, not a missing part of the page.
    changed = record.config(options) if options else config
    try:
        checkpoint = record.checkpoint(which)
        evaluation = evaluation_record(changed, checkpoint, record.path / 'report', name)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        problem = f'Its checkpoint was not evaluated: {sentence}'
        return ReportedRun(name, record, config, None, [problem])
    return ReportedRun(name, record, config, evaluation)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest path endings that distinguish the folders."""
    parts = [folder.resolve().parts for folder in folders]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ['/'.join(part[-length:]) for part in parts]
