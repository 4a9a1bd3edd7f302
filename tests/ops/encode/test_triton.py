from __future__ import annotations

from pathlib import Path

from triton_interpreter import passed_in_interpreter


def test_kernels_in_the_interpreter():
    assert passed_in_interpreter(Path(__file__).with_name('triton_interpreted.py')) > 0
