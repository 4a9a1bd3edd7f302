"""The report page as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from mmseg_encnet.version import __version__
from mmseg_encnet.workbench.formatting import html_template
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
        style = figures.run_style(index, f'{letter} {run.name}' if len(runs) > 1 else run.name)
        shown.append(ShownRun(**vars(run), letter=letter, style=style))
    sections = [build(shown) for build in _SECTIONS]
    return html_template('reporting', 'report.html').render(
        title=_title(runs),
        several=len(runs) > 1,
        version=__version__,
        runs=[(run, _facts(run), _problems(run)) for run in shown],
        sections=[section for section in sections if section],
        configs=[(run, run.record.config_text) for run in shown],
    )


def _title(runs: Sequence[ReportedRun]) -> str:
    if len(runs) == 1:
        return f'Run {runs[0].name}'
    return f'{len(runs)} runs: {", ".join(run.name for run in runs)}'


def _letter(index: int) -> str:
    """Return A, B, ... Z, A1, B1 and so on."""
    turn, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else '')


def _facts(run: ShownRun) -> dict[str, str]:
    """Return the facts about a run at the top of the page."""
    facts = {'Folder': str(run.record.path)}
    if run.config:
        facts['Model'] = _describe_model(run.config.get('model') or {})
    facts['Trained'] = f'{run.record.iterations} iterations'
    if run.record.sessions > 1:
        facts['Trained'] += f' in {run.record.sessions} sessions'
    if run.evaluation:
        facts['Evaluated'] = f'{run.evaluation.checkpoint} on {run.evaluation.dataset}'
    return facts


def _problems(run: ShownRun) -> list[str]:
    broken = run.record.broken_lines
    if not broken:
        return list(run.problems)
    lines = 'line' if broken == 1 else 'lines'
    skipped = f'Skipped {broken} unreadable {lines} of the log, as a killed process leaves them.'
    return [*run.problems, skipped]


def _describe_model(model: Mapping[str, Any]) -> str:
    parts = [model.get('type')]
    for key in ('backbone', 'neck', 'decode_head'):
        part = model.get(key)
        part = part[-1] if isinstance(part, (list, tuple)) and part else part
        if part:
            depth = part.get('depth', '')
            parts.append(f'{part.get("type")}{f"-{depth}" if depth else ""}')
    return ', '.join(map(str, parts))
