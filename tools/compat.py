"""Test the project with other versions of Python, PyTorch and the toolbox.

Each cell of the matrix gets a temporary virtual environment with PyTorch and the project, in which
part of the tests run. The results are written to docs/compatibility.md. Only git and the Python
interpreters are required. The oldest versions are the lower bounds in setup.cfg.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs' / 'compatibility.json'
PAGE = ROOT / 'docs' / 'compatibility.md'
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
# The version that `make` installs.
DEFAULT_TORCH = re.search(
    r'^TORCH \?= torch==([\w.]+)', (ROOT / 'Makefile').read_text(), re.MULTILINE
)[1]
SHOWN = ('torch', 'numpy', 'onedl-mmcv', 'onedl-mmengine', 'onedl-mmsegmentation')
SMOKE = (
    'tests/ops/encode/test_encode.py',
    'tests/ops/test_presence.py',
    'tests/running/test_launch.py',
    'tests/predicting/test_inference.py',
    'tests/apis',
    'tests/reliability/test_strangers_files.py',
)
SECONDS_A_STEP = 1800
_run = partial(subprocess.run, capture_output=True, text=True)
_HEAD = """# Compatibility

Versions tested together by `make compat`, which is not part of `make test`. Each row is a fresh
environment with PyTorch, the toolbox and the project, in which the tests of the operators,
training, inference, the toolbox's interfaces and untrusted files run.

`oldest` is the lower bound in `setup.cfg`, `newest` the version that pip chose on that day, and
`{torch}` the PyTorch that `make` installs. A cell takes one core for about 15 minutes and needs the
network. Builds of PyTorch with CUDA take several gigabytes, which are deleted afterwards.
`make compat CELLS='NAME ...'` runs some cells, and `CELLS=--no-cuda` skips builds with CUDA.

"""


class Cell(NamedTuple):
    """A row of the matrix.

    Attributes:
        python: Version of the interpreter, ``3.11``.
        torch: ``oldest``, ``newest`` or a version.
        toolbox: ``oldest`` or ``newest``.
    """

    python: str
    torch: str
    toolbox: str

    @property
    def name(self) -> str:
        return f'python{self.python}-torch-{self.torch}-toolbox-{self.toolbox}'


class NotTested(Exception):
    """A cell cannot be tested here, for the reason in the message."""


def matrix() -> list[Cell]:
    """Return both ends of the allowed versions for each Python, and what ``make`` installs."""
    ends = [Cell(python, end, end) for python in PYTHONS for end in ('oldest', 'newest')]
    usual = [Cell('3.11', DEFAULT_TORCH, end) for end in ('oldest', 'newest')]
    return sorted(ends + usual)


def lower_bounds() -> dict[str, str]:
    """Return the oldest versions of PyTorch and the toolbox that setup.cfg allows."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    lines = setup['options']['install_requires'] + setup['options.extras_require']['toolbox']
    found = re.findall(r'^([\w-]+)>=([\w.]+)', lines, re.MULTILINE)
    return {name: version for name, version in found if name in SHOWN and name != 'numpy'}


def requirements(cell: Cell) -> tuple[str, list[str]]:
    """Return pip's requirements for PyTorch and for the toolbox."""
    oldest = lower_bounds()
    version = oldest['torch'] if cell.torch == 'oldest' else cell.torch
    torch = 'torch' if cell.torch == 'newest' else f'torch=={version}'
    toolbox = [name for name in SHOWN if name.startswith('onedl-')]
    if cell.toolbox == 'oldest':
        toolbox = [f'{name}=={oldest[name]}' for name in toolbox]
    return torch, toolbox


def run(cell: Cell, folder: Path, allow_cuda: bool) -> dict[str, Any]:
    """Test a cell and return its result."""
    result: dict[str, Any] = dict(cell=list(cell), day=date.today().isoformat(), versions={})
    start = time.monotonic()
    try:
        python = _interpreter(cell.python)
        shutil.rmtree(folder, ignore_errors=True)
        result.update(_try(cell, python, folder, allow_cuda))
    except NotTested as reason:
        result.update(status='not tested', detail=str(reason))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return dict(result, seconds=round(time.monotonic() - start))


def _try(cell: Cell, python: str, folder: Path, allow_cuda: bool) -> dict[str, Any]:
    venv, source = folder / 'venv', folder / 'source'
    _step([python, '-m', 'venv', str(venv)], 'venv failed')
    pip = [str(venv / 'bin' / 'python'), '-m', 'pip', 'install', '--quiet']
    torch, toolbox = requirements(cell)
    if not allow_cuda:
        report = _step([*pip, '--dry-run', '--report', '-', torch], f'pip found no {torch}')
        names = [entry['metadata']['name'] for entry in json.loads(report)['install']]
        cuda = sum(name.startswith('nvidia') for name in names)
        if cuda:
            raise NotTested(f'{torch} comes with {cuda} CUDA packages there, which --no-cuda skips')
    _copy(source)
    _step([*pip, torch], f'pip could not install {torch}')
    project = f'{source}[toolbox,onnx,data,analysis]'
    tests = ['pytest', 'pytest-xdist', 'hypothesis']
    _step([*pip, project, *toolbox, *tests], 'pip could not install the project')
    installed = _step([*pip[:-2], 'list', '--format', 'freeze'], 'pip failed').splitlines()
    versions = dict(line.split('==') for line in installed if '==' in line)
    versions = {name: versions.get(name, '?') for name in SHOWN}
    command = f'{venv}/bin/python -m pytest -q --no-header -p no:cacheprovider'.split()
    environment = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    try:
        ended = _run([*command, *SMOKE], cwd=source, env=environment, timeout=SECONDS_A_STEP)
        output, status = ended.stdout, 'failed' if ended.returncode else 'passed'
    except subprocess.TimeoutExpired:
        output, status = f'timeout after {SECONDS_A_STEP} s', 'failed'
    return dict(status=status, detail=_summary(output), versions=versions)


def _summary(output: str) -> str:
    """Return pytest's counts and the first failed tests."""
    counts = re.findall(r'(\d+ (?:passed|failed|error).*) in ', output)
    summary = counts[-1] if counts else (output.strip() or 'no output').splitlines()[-1]
    failed = re.findall(r'^(?:FAILED|ERROR) (.+?)(?: - .*)?$', output, re.MULTILINE)
    names = ', '.join(failed[:3]) + ', ...' * (len(failed) > 3)
    return re.sub(r', \d+ warnings?', '', summary) + f': {names}' * bool(failed)


def _interpreter(version: str) -> str:
    """Return an interpreter from the path or from pyenv."""
    candidates = [shutil.which(f'python{version}')]
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
    candidates += sorted(map(str, pyenv.glob(f'{version}.*/bin/python')))
    for candidate in filter(None, candidates):
        ended = _run([candidate, '-c', 'import sys, venv; print(sys.version)'])
        if not ended.returncode and ended.stdout.startswith(f'{version}.'):
            return candidate
    raise NotTested(f'no Python {version} on this machine')


def _copy(target: Path) -> None:
    """Copy the project, because building a wheel leaves files in its source."""
    listed = _run(['git', 'ls-files', '-z'], cwd=ROOT, check=True)
    for name in filter(None, listed.stdout.split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _step(command: list[str], otherwise: str) -> str:
    try:
        ended = _run(command, timeout=SECONDS_A_STEP)
    except subprocess.TimeoutExpired:
        raise NotTested(f'{otherwise} in {SECONDS_A_STEP} s') from None
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith('ERROR')]
        # Messages may contain addresses of package indexes.
        reason = re.sub(r'\S+://\S+', '...', (lines or ['no message'])[-1].removeprefix('ERROR: '))
        raise NotTested(f'{otherwise}: {reason}')
    return ended.stdout


def stored() -> dict[str, dict[str, Any]]:
    """Return the last result of each cell."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def render(results: dict[str, dict[str, Any]]) -> str:
    """Return the content of ``docs/compatibility.md``."""
    return _HEAD.format(torch=DEFAULT_TORCH) + '\n'.join(_table(matrix(), results)) + '\n'


def _table(cells: Iterable[Cell], results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f'| Python | PyTorch | toolbox | result | {" | ".join(SHOWN)} | day | minutes |'
    yield '|' + '---|' * (6 + len(SHOWN))
    for cell in cells:
        result = results.get(
            cell.name, dict(status='not tested', detail='not run', versions={}, day='', seconds=0)
        )
        versions = [result['versions'].get(name, '') for name in SHOWN]
        minutes = f'{result["seconds"] / 60:.0f}' if result['versions'] else ''
        row = [
            *cell,
            f'**{result["status"]}** ({result["detail"]})',
            *versions,
            result['day'],
            minutes,
        ]
        yield f'| {" | ".join(row)} |'


def main() -> None:
    cells = {cell.name: cell for cell in matrix()}
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='cells: ' + ', '.join(cells),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('cells', nargs='*', metavar='CELL', help='cells to run (default: all)')
    parser.add_argument(
        '--no-cuda',
        action='store_true',
        help='skip cells whose PyTorch comes with CUDA packages',
    )
    parser.add_argument(
        '--folder',
        type=Path,
        default=ROOT / '.compat',
        help='folder of the temporary environments (default: %(default)s)',
    )
    args = parser.parse_args()
    unknown = set(args.cells) - set(cells)
    if unknown:
        parser.error(f'unknown cell {min(unknown)}; choose from {", ".join(cells)}')
    failed = []
    for name in args.cells or cells:
        print(f'--- {name}', flush=True)
        result = run(cells[name], args.folder / name, not args.no_cuda)
        print(f'{result["status"]}: {result["detail"]}', flush=True)
        # Read again, to keep the results of concurrent runs.
        results = dict(stored(), **{name: result})
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=2) + '\n')
        PAGE.write_text(render(results))
        if result['status'] == 'failed':
            failed.append(name)
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
