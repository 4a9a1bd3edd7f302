"""Results of the long checks, and the page that is generated from them.

A long check is a script ``tests/reliability/check_*.py`` that measures one promise and ends in::

    if __name__ == '__main__':
        record.run('Killed training', 'One sentence that states the promise.', measure)

``measure()`` returns the figures, one row of the page each, and raises ``AssertionError`` if the
promise does not hold. The result is written to ``docs/reliability/NAME.json``, and
``docs/reliability.md`` is generated from these files alone. ``tools/analysis_tools/reliability.py``
runs the checks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mmseg_encnet.workbench.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / 'tests' / 'reliability'
RESULTS = ROOT / 'docs' / 'reliability'
PAGE = ROOT / 'docs' / 'reliability.md'

Figures = Mapping[str, 'str | int | float']
_HEAD = """# Reliability

This page states what the project promises under faults, with the measurements that support it. Each
check is a script in `tests/reliability/`; `python tools/analysis_tools/reliability.py` runs all of
them, or those given as arguments, and generates this page from their results
(`docs/reliability/*.json`). Shorter versions of most checks are part of `make test`.
"""


class CheckResult(NamedTuple):
    """One run of one long check.

    Attributes:
        name: Name of its script without ``check_``.
        title: Heading on the page.
        promise: The promise, in one sentence.
        held: Whether the promise held.
        figures: Measurements by label; units are in the labels or values.
        seconds: Duration.
        day: ISO date.
        setting: Python, PyTorch and processors.
    """

    name: str
    title: str
    promise: str
    held: bool
    figures: dict[str, Any]
    seconds: float
    day: str
    setting: str


def run(title: str, promise: str, measure: Callable[[], Figures]) -> None:
    """Run a check, write its result, and exit with status 1 if it did not hold."""
    name = Path(sys.argv[0]).stem.removeprefix('check_')
    start = time.monotonic()
    try:
        figures, held = dict(measure()), True
    except AssertionError as error:
        figures, held = {'failed': ' '.join(str(error).split()) or 'an assertion'}, False
    result = CheckResult(
        name,
        title,
        ' '.join(promise.split()),
        held,
        figures,
        round(time.monotonic() - start, 1),
        date.today().isoformat(),
        _setting(),
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f'{name}.json'
    path.write_text(json.dumps(result._asdict(), indent=2, allow_nan=False) + '\n')
    print(_section(result))
    sys.exit(not held)


def stored() -> list[CheckResult]:
    """Return the stored results, sorted by title."""
    results = [CheckResult(**json.loads(path.read_text())) for path in RESULTS.glob('*.json')]
    return sorted(results, key=lambda result: result.title)


def render(results: Iterable[CheckResult]) -> str:
    """Return the text of ``docs/reliability.md``."""
    return '\n'.join([_HEAD, *map(_section, results)])


def _section(result: CheckResult) -> str:
    lines = [f'## {result.title}', '', result.promise, '', '| Measurement | Result |', '|---|---|']
    lines += [f'| {label} | {_shown(value)} |' for label, value in result.figures.items()]
    verdict = 'Held' if result.held else '**Did not hold**'
    lines += [
        '',
        f'{verdict} on {result.day}, in {result.seconds:.0f} s; {result.setting}; '
        f'`tests/reliability/check_{result.name}.py`.',
        '',
    ]
    return '\n'.join(lines)


def _shown(value: Any) -> str:
    shown = f'{value:.4g}' if isinstance(value, float) else str(value)
    return shown.replace('|', '\\|')


def _setting() -> str:
    machine = describe_machine(torch.device('cpu'))
    return (
        f'Python {machine["python"]}, PyTorch {machine["torch"]}, '
        f'{machine["cores"]} x {machine["processor"]}'
    )
