"""The GPU report's script with a fake Python and nvidia-smi."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from tiny_setup import ROOT

# Answers the script's questions about the GPU; a tool writes its page, or does what is asked of it.
PYTHON = """#!/bin/sh
case "$2" in
    *is_available*) exit "${NO_GPU:-0}" ;;
    *capability*) echo 90; exit ;;
esac
name=tests
for word in "$@"; do
    [ "$previous" = --markdown ] && page=$word && name=$(basename "$word" .md)
    previous=$word
done
echo "$name $*" >> "$CALLS"
[ "$name" = "$HANGS" ] && sleep 60
[ "$name" = "$FAILS" ] && echo 'out of order' && exit 3
[ -n "$page" ] && echo "| page of $name |" > "$page"
echo "output of $name"
"""
SECTIONS = ('encode', 'r50', 'r50_jpu', 'r50_amp', 'kernels', 'loss')


@pytest.fixture
def report(tmp_path):
    for name, text in (('python', PYTHON), ('nvidia-smi', '#!/bin/sh\necho "Fake 9000, 1 GiB"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(**variables: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [ROOT / 'tools' / 'analysis_tools' / 'gpu_report.sh', tmp_path / 'out'],
            env={
                **os.environ,
                'PATH': f'{tmp_path}:{os.environ["PATH"]}',
                'PYTHON': str(tmp_path / 'python'),
                'CALLS': str(tmp_path / 'calls'),
                **{name: str(value) for name, value in variables.items()},
            },
            capture_output=True,
            text=True,
        )

    return run


def test_one_page_of_everything(report, tmp_path):
    result = report()
    assert result.returncode == 0, result.stderr
    page = (tmp_path / 'out' / 'report.md').read_text()
    assert 'Fake 9000' in page
    assert '## Incomplete\n\nNothing.' in page
    assert 'output of tests' in page
    for name in SECTIONS:
        assert f'| page of {name} |' in page
    calls = (tmp_path / 'calls').read_text()
    for words in (
        '--config encnet_r50_jpu_ade20k',
        '--amp float16',
        '--architectures 90',
        '-m cuda',
    ):
        assert words in calls


def test_a_step_that_hangs_or_fails_is_named_and_leaves_the_others(report, tmp_path):
    result = report(FAILS='r50_amp')
    assert result.returncode == 1
    page = (tmp_path / 'out' / 'report.md').read_text()
    assert '- r50_amp: failed with exit status 3; see r50_amp.txt.' in page
    assert 'Not finished; see r50_amp.txt.' in page
    assert '| page of kernels |' in page

    start = time.monotonic()
    result = report(HANGS='r50', GPU_REPORT_SECONDS=18)
    assert result.returncode == 1
    assert time.monotonic() - start < 18
    page = (tmp_path / 'out' / 'report.md').read_text()
    assert '- r50: stopped after ' in page
    assert '- r50_amp: omitted, no time was left.' in page
    # The pages of the former run are gone.
    assert '| page of encode |' in page
    assert '| page of r50_amp |' not in page


def test_without_a_gpu(report):
    result = report(NO_GPU=1)
    assert result.returncode == 2
    assert result.stderr.startswith('error: PyTorch finds no GPU;')
