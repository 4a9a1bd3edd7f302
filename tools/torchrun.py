"""Run ``torchrun``, and report a mistake in the input in one sentence with exit status 2.

Takes the arguments of ``torchrun``. It does not import mmseg_encnet, which takes seconds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

# As in mmseg_encnet.running.explain.
FOLDER = 'MMSEG_ENCNET_ERRORS'
MISTAKE = 2


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        # Otherwise a process that is started with -c or -m imports from the current folder.
        os.environ['PYTHONSAFEPATH'] = os.environ.get('PYTHONSAFEPATH') or '1'
        try:
            run.run(run.parse_args(None))
        except ChildFailedError as error:
            files = sorted(Path(folder).iterdir(), key=lambda file: file.stat().st_mtime_ns)
            sentences = [file.read_text('utf-8') for file in files]
            _, failure = error.get_first_failure()
            if failure.exitcode != MISTAKE:
                raise
            # Printed last, after everything that torchrun and its processes print.
            for sentence in sentences:
                print(f'error: {sentence}', file=sys.stderr)
            return MISTAKE
    return 0


if __name__ == '__main__':
    sys.exit(main())
