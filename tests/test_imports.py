"""The cost of importing the package in addition to the toolbox."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import mmseg.models
before = set(sys.modules)
import mmseg_encnet
print(*set(sys.modules) - before)
"""
# Modules of the package itself, and small modules of packages that the toolbox also loads.
ALLOWED = {'mmseg_encnet', 'mmseg', 'mmengine', 'mmcv', 'packaging', 'prettytable', 'zipfile'}


def test_loads_nothing_heavy_that_the_toolbox_does_not_load():
    # The toolbox prints to the same stream.
    loaded = (
        subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', PROGRAM],
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.splitlines()[-1]
        .split()
    )
    foreign = {
        name
        for name in loaded
        if name.split('.')[0] not in ALLOWED | set(sys.stdlib_module_names)
        # Modules that torch creates for operators and their libraries.
        and not name.startswith(('torch.', 'wcwidth'))
    }
    assert not foreign
    assert not [name for name in loaded if name.startswith('mmseg_encnet.workbench')]
