"""Run ``torchrun``, stop its processes on signals, and report their errors in one sentence.

Takes the arguments of ``torchrun``. SIGTERM, SIGINT, SIGHUP and SIGUSR1 reach the processes as a
request in a file; a second signal ends all of them at once. If the launcher is killed, they end.
It does not import mmseg_encnet, which takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import NoReturn

# As in mmseg_encnet.running.explain.
FOLDER = 'MMSEG_ENCNET_ERRORS'
STOPPED = 'stopped'
MISTAKE = 2
# As in mmseg_encnet.running.stopping.
SECONDS = 'MMSEG_ENCNET_STOP_SECONDS'
IGNORED = 'MMSEG_ENCNET_IGNORED_SIGNALS'
REQUEST = 'stop'
STATUSES = (75, 124, *(128 + number for number in (1, 2, 10, 15)))
SECONDS_OF_ONE_REQUEST = 0.3

LAUNCHER = 'MMSEG_ENCNET_LAUNCHER'
PROCESS = '--process'


def main() -> int:
    if sys.argv[1:2] == [PROCESS]:
        run_process(*sys.argv[2:])
        return 0
    if sys.argv[1:2] in (['-h'], ['--help']):
        print(f'usage: {Path(__file__).name} [OPTIONS OF torchrun] SCRIPT [ARGUMENTS]\n\n{__doc__}')
        print('python -m torch.distributed.run --help lists the options of torchrun.')
        return 0
    folder = Path(tempfile.mkdtemp(prefix='mmseg_encnet-'))
    os.environ[FOLDER] = str(folder)
    os.environ[LAUNCHER] = str(os.getpid())
    # Otherwise a process that is started with -c or -m imports from the current folder.
    os.environ['PYTHONSAFEPATH'] = os.environ.get('PYTHONSAFEPATH') or '1'
    handle_signals(folder)
    try:
        return launch(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_process(script: str, *arguments: str) -> None:
    """Run a script in a process of the launcher, which ends with the launcher."""
    load('parent').end_with_parent(int(os.environ[LAUNCHER]))
    sys.argv = [script, *arguments]
    if not getattr(sys.flags, 'safe_path', False):
        sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name='__main__')


def load(name: str) -> ModuleType:
    """Load a module of ``mmseg_encnet.running`` without importing the package."""
    file = Path(__file__).resolve().parents[1] / 'mmseg_encnet' / 'running' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(folder: Path) -> int:
    """Run ``torchrun`` and return the exit status."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # It would end on the first signal.
    api._terminate_process_handler = leave_to_thread
    # Processes that have lost another one do not end on SIGTERM, which asks for a checkpoint.
    close = api.PContext.close
    api.PContext.close = lambda self, death_sig=None, timeout=30: close(
        self, signal.SIGKILL, timeout
    )

    args = run.parse_args(None)
    args.training_script_args = [PROCESS, args.training_script, *args.training_script_args]
    args.training_script = __file__
    with contextlib.suppress(OSError, ValueError):
        name, status = json.loads((folder / REQUEST).read_text())
        print(f'stopped by {name} before its processes have started.', file=sys.stderr)
        return status
    try:
        with load('watchdog').watched_output() as output:
            run.run(args)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode == -signal.SIGABRT and output.reason:
            sentence, status = output.reason
            print(f'error: {sentence}', file=sys.stderr)
            return status
        if failure.exitcode != MISTAKE and failure.exitcode not in STATUSES:
            raise
        # Printed last, after everything that torchrun and its processes print.
        for sentence in sentences(folder):
            print(f'error: {sentence}', file=sys.stderr)
        return failure.exitcode
    with contextlib.suppress(OSError, ValueError):
        line, status = json.loads((folder / STOPPED).read_text())
        print(line, file=sys.stderr)
        return status
    return 0


def sentences(folder: Path) -> list[str]:
    """Return the errors of the processes in the order in which they occurred."""
    files = [file for file in folder.iterdir() if file.name not in (REQUEST, STOPPED)]
    return [file.read_text() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def leave_to_thread(*_: object) -> None:
    """Ignore a signal in the main thread, which may be in a call that Python cannot interrupt."""


def handle_signals(folder: Path) -> None:
    """Handle signals in a thread; those that are ignored, as with ``nohup``, stay ignored."""
    names = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1')
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in signals if signal.getsignal(number) is signal.SIG_IGN]
    # torchrun installs its handler for all of them.
    os.environ[IGNORED] = ' '.join(number.name for number in ignored)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in signals:
        if number not in ignored:
            signal.signal(number, leave_to_thread)
    numbers = [int(number) for number in signals if number not in ignored]
    threading.Thread(target=stop, args=(folder, read, numbers), daemon=True).start()


def stop(folder: Path, read: int, numbers: list[int]) -> None:
    """Ask the processes to stop on the first signal, and end all of them on the second."""
    first = 0.0
    while True:
        (number,) = os.read(read, 1)
        if number not in numbers:
            continue
        name = signal.Signals(number).name
        if not first:
            first = time.monotonic()
            aside = folder / f'{REQUEST}.part'
            aside.write_text(json.dumps([name, 128 + number]))
            aside.rename(folder / REQUEST)
            threading.Thread(target=end_later, args=(folder, name, number), daemon=True).start()
        elif time.monotonic() - first > SECONDS_OF_ONE_REQUEST:
            end(folder, f'stopped by {name} at once.', number)


def end_later(folder: Path, name: str, number: int) -> None:
    """End the processes if they do not stop in time."""
    try:
        seconds = float(os.environ.get(SECONDS, ''))
    except ValueError:
        seconds = 30.0
    # Longer than they take to notice it themselves.
    time.sleep(seconds + 3)
    end(folder, f'stopped by {name}: the processes did not end within {seconds:g} s.', number)


def end(folder: Path, line: str, number: int) -> NoReturn:
    """End the launcher, which ends its processes."""
    shutil.rmtree(folder, ignore_errors=True)
    print(line, file=sys.stderr, flush=True)
    os._exit(128 + number)


if __name__ == '__main__':
    sys.exit(main())
