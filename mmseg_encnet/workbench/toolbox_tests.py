"""Run the toolbox's own tests with and without the plugin and compare the outcomes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mmseg_encnet.errors import UserError

PLUGIN = ('-p', 'mmseg_encnet')
# Exit statuses of pytest with which it has run tests: all passed, some failed.
_RAN = (0, 1)
_KINDS = {'failure': 'failed', 'error': 'error', 'skipped': 'skipped'}


@dataclass(frozen=True)
class Comparison:
    """Outcomes of two runs, by name of the test.

    Attributes:
        without: Outcomes without the plugin: passed, failed, error or skipped.
        imported: Outcomes with the plugin imported before the tests.
    """

    without: Mapping[str, str]
    imported: Mapping[str, str]

    @property
    def differences(self) -> list[str]:
        """One line for each test whose outcome differs."""
        return [
            f'{name}: {before} without mmseg_encnet, {after} with it'
            for name in sorted({*self.without, *self.imported})
            if (before := self.without.get(name, 'not run'))
            != (after := self.imported.get(name, 'not run'))
        ]


def compare_toolbox_tests(source: Path, arguments: Sequence[str] = ()) -> Comparison:
    """Run the tests of a clone of the toolbox twice, in processes of their own.

    The tests run against the installed toolbox: they are copied without the sources of the clone,
    which Python would import instead.

    Args:
        source: Clone of MMSegmentation with a folder ``tests``.
        arguments: Arguments for pytest, such as ``-k`` and an expression.

    Raises:
        UserError: The folder contains no tests, or pytest cannot run them.
    """
    if not (source / 'tests').is_dir():
        raise UserError(
            f'{source} contains no folder tests; pass a clone of MMSegmentation at the installed '
            'version.'
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / 'toolbox'
        shutil.copytree(source / 'tests', copy / 'tests')
        for path in source.iterdir():
            if path.name not in ('mmseg', 'tests', '.git'):
                (copy / path.name).symlink_to(path.resolve())
        return Comparison(*(_run(copy, [*extra, *arguments]) for extra in ((), PLUGIN)))


def summary(comparison: Comparison) -> str:
    """Return the number of tests by outcome, for both runs."""
    lines = []
    for title, outcomes in (
        ('without mmseg_encnet', comparison.without),
        ('with mmseg_encnet', comparison.imported),
    ):
        counts = Counter(outcomes.values())
        text = ', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))
        lines.append(f'{title}: {text or "no tests"}')
    return '\n'.join(lines)


def _run(folder: Path, arguments: Sequence[str]) -> dict[str, str]:
    record = folder.parent / 'record.xml'
    record.unlink(missing_ok=True)
    command = [sys.executable, '-m', 'pytest', 'tests', '-q', '-p', 'no:cacheprovider']
    result = subprocess.run(
        [*command, f'--junitxml={record}', '--continue-on-collection-errors', *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if result.returncode not in _RAN or not record.exists():
        *_, last = (result.stdout + result.stderr).strip().splitlines() or ['no output']
        raise UserError(
            f'pytest ended with status {result.returncode} ({last}); check its arguments and the '
            'folder.'
        )
    return read_outcomes(record)


def read_outcomes(record: Path) -> dict[str, str]:
    """Return the outcome of each test in a JUnit record of pytest."""
    outcomes = {}
    for case in ElementTree.parse(record).iter('testcase'):
        name = f'{case.get("classname")}::{case.get("name")}'
        kinds = [_KINDS[child.tag] for child in case if child.tag in _KINDS]
        outcomes[name] = kinds[-1] if kinds else 'passed'
    return outcomes
