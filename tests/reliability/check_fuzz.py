"""Run the fuzz tests of ``make test`` with twenty times as many cases, 14,600."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import record

CASES = 14_600
FOLDER = Path(__file__).parent
# The report of hypothesis on each test; a case is invalid if the test itself rejected it.
_TEST = re.compile(r'(test_fuzz_(\w+)\.py)::(\w+?):\n')
_COUNTS = re.compile(r'- (\d+) passing, (\d+) failing')


def measure() -> record.Figures:
    files = sorted(FOLDER.glob('test_fuzz_*.py'))
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        '-n',
        'auto',
        '--hypothesis-show-statistics',
        *map(str, files),
    ]
    environment = dict(os.environ, FUZZ_CASES=str(CASES), OMP_NUM_THREADS='1')
    ended = subprocess.run(
        command, cwd=record.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    failed = [line for line in ended.stdout.splitlines() if line.startswith('FAILED')]
    # A crash of the process, such as a segmentation fault, leaves a status and no line.
    assert not failed and not ended.returncode, (
        ' '.join(failed) or f'status {ended.returncode}: {ended.stderr[-500:]}'
    )
    figures: dict[str, int] = {}
    parts = _TEST.split(ended.stdout)
    for _, kind, _, text in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4]):
        tried = sum(int(passing) for passing, _ in _COUNTS.findall(text))
        figures[kind] = figures.get(kind, 0) + tried
    total = sum(figures.values())
    assert total >= 0.9 * CASES, f'{total} cases were counted'
    return {
        'cases': total,
        **{f'with {kind}': count for kind, count in figures.items()},
        'with neither a finite result nor an error that names the cause': 0,
    }


if __name__ == '__main__':
    record.run(
        'Bad input',
        'Label maps, image sizes, shapes, config options, and damaged images, labels, '
        'checkpoints and JSON give a finite result or one clear error that names the cause; a '
        'damaged checkpoint, PNG or label is refused or read as written.',
        measure,
    )
