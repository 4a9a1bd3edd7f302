"""``kill -9`` and a full disk during training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).with_name('check_killed_training.py')


def test_killed_training_goes_on_to_its_end(environment):
    # In a process of its own, because it forks.
    ended = subprocess.run([sys.executable, str(CHECK), '3', '16'], env=environment,
                           capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert figures['kills survived (`kill -9`)'] == 3
