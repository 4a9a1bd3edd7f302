"""The report page as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmseg_encnet.version import __version__
from mmseg_encnet.workbench.reporting import class_sections, figures, run_sections
from mmseg_encnet.workbench.reporting.section import ReportedRun, ShownRun

_SECTIONS = (
    run_sections.results,
    run_sections.training,
    class_sections.classes,
    class_sections.confusion,
    class_sections.presence,
    class_sections.sheets,
    run_sections.speed_and_memory,
    run_sections.differences,
)


def render_page(runs: Sequence[ReportedRun]) -> str:
    """Return the page as self-contained HTML.

    Args:
        runs: At least one run; the others are compared with the first.
    """
    shown = []
    for index, run in enumerate(runs):
        letter = _letter(index)
        label = f'{letter} {run.name}' if len(runs) > 1 else run.name
        shown.append(ShownRun(run, letter, figures.run_style(index, label)))
    environment = Environment(
        loader=PackageLoader('mmseg_encnet.workbench.reporting'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [build(shown) for build in _SECTIONS]
    return environment.get_template('report.html').render(
        title=_title(runs),
        several=len(runs) > 1,
        version=__version__,
        runs=[_card(run) for run in shown],
        sections=[section for section in sections if section],
        configs=[(run, run.run.record.config_text) for run in shown],
    )


def _title(runs: Sequence[ReportedRun]) -> str:
    if len(runs) == 1:
        return f'Run {runs[0].name}'
    return f'{len(runs)} runs: {", ".join(run.name for run in runs)}'


def _letter(index: int) -> str:
    """Return A, B, ... Z, A1, B1 and so on."""
    turn, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else '')


def _card(shown: ShownRun) -> dict[str, Any]:
    """Return the facts about a run at the top of the page."""
    run, record = shown.run, shown.run.record
    facts = {'Folder': str(record.path)}
    if run.config:
        facts['Model'] = _model_in_words(run.config.get('model') or {})
    facts['Trained'] = f'{record.iterations} iterations'
    if record.sessions > 1:
        facts['Trained'] += f' in {record.sessions} sessions'
    if shown.evaluation:
        facts['Evaluated'] = f'{shown.evaluation.checkpoint} on {shown.evaluation.dataset}'
    problems = list(run.problems)
    if record.broken_lines:
        lines = 'line' if record.broken_lines == 1 else 'lines'
        problems.append(
            f'Skipped {record.broken_lines} unreadable {lines} of the log, as a killed process '
            'leaves them.'
        )
    return dict(
        letter=shown.letter,
        colour=shown.style.colour,
        name=run.name,
        facts=facts,
        problems=problems,
    )


def _model_in_words(model: Mapping[str, Any]) -> str:
    parts = [model.get('type')]
    for key in ('backbone', 'neck', 'decode_head'):
        part = model.get(key)
        part = part[-1] if isinstance(part, (list, tuple)) and part else part
        if part:
            depth = part.get('depth', '')
            parts.append(f'{part.get("type")}{f"-{depth}" if depth else ""}')
    return ', '.join(map(str, parts))
