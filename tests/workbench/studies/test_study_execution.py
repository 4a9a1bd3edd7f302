"""The study tool on small runs: killed, restarted, and with a run that crashes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_setup import ROOT, option_strings
from waiting import wait_for

from mmseg_encnet.workbench.studies.definition import Run, Variant
from mmseg_encnet.workbench.studies.execution import execute

SECONDS = 200
# Replaces the metric of the first attempt, which a restart from scratch would overwrite.
MARK = {'iteration': 20, 'metric': 12.5}


@pytest.fixture
def start(tmp_path: Path, tiny_options: dict) -> Callable[[], subprocess.Popen]:
    """Start the tool on a study of a valid and an invalid variant."""
    data_root = tiny_options.pop('data_root')
    tiny_options.update({'train_cfg.max_iters': 60, 'train_cfg.val_interval': 20})
    # The tool adds a PresenceMetric, of which there can be only one.
    metrics = [dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='PresenceMetric')]
    tiny_options['test_evaluator'] = metrics
    (tmp_path / 'small.py').write_text(
        "config = 'encnet_r18_msrc21'\nmetric = 'mIoU'\nbaseline = 'EncNet'\nseeds = [0]\n"
        f'options = {tiny_options!r}\n'
        "variants = [dict(name='EncNet'),\n"
        "    dict(name='no codes', options={'model.decode_head.num_codes': -1})]\n"
    )
    command = [
        sys.executable,
        str(ROOT / 'tools/analysis_tools/study.py'),
        str(tmp_path / 'small.py'),
        '--workers',
        '2',
        '--work-dir',
        str(tmp_path / 'work'),
        '--cfg-options',
        *option_strings({'data_root': data_root}),
    ]

    def popen() -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return popen


def test_goes_on_where_it_was_killed(tmp_path: Path, start) -> None:
    def progress() -> int:
        files = list((tmp_path / 'work').glob('small/encnet_seed0_*/progress'))
        return int(files[0].read_text() or 0) if files else 0

    def trainings() -> list[str]:
        lines = subprocess.run(['ps', '-eo', 'sid=,args='], capture_output=True, text=True).stdout
        return [
            line
            for line in lines.splitlines()
            if line.split()[0] == str(first.pid) and 'studies.execution' in line
        ]

    first = start()
    try:
        wait_for(lambda: progress() > 20, 'checkpoint', SECONDS)
        first.kill()
        first.communicate()
        wait_for(lambda: not trainings(), 'end of the runs of a killed study', SECONDS)
    finally:
        if trainings():
            os.killpg(first.pid, signal.SIGKILL)
    result = tmp_path / 'results/small/encnet_seed0.json'
    assert not result.exists()
    (history,) = (tmp_path / 'work').glob('small/encnet_seed0_*/history.jsonl')
    entries = [json.loads(line) for line in history.read_text().splitlines()]
    assert any('metric' in entry and entry['iteration'] == 20 for entry in entries)
    history.write_text(
        ''.join(json.dumps(MARK if 'metric' in entry else entry) + '\n' for entry in entries)
    )

    stopped = start()
    former = progress()
    wait_for(lambda: progress() not in (former, 60), 'progress', SECONDS)
    stopped.terminate()
    output, _ = stopped.communicate(timeout=SECONDS)
    assert stopped.returncode == 143, output
    assert output.endswith('stopped by SIGTERM.\n')
    log = (history.parent / 'output.txt').read_text()
    assert log.count('training stopped by SIGTERM after iteration ') == 1

    second = start()
    output, _ = second.communicate(timeout=SECONDS)
    assert second.returncode == 1, output
    content = json.loads(result.read_text())
    assert [step for step, _ in content['validation']] == [20, 40, 60]
    assert content['validation'][0][1] == MARK['metric']
    assert [step for step, _ in content['loss']] == list(range(1, 61))
    for name in ('mIoU', 'mIoU_given_presence', 'presence/mAP'):
        assert 0 <= content['metrics'][name] <= 100
    page = (tmp_path / 'results/small.md').read_text()
    assert '| no codes | crashed | 0 of 1 |' in page
    assert 'num_codes' in page.split('Crashed runs')[1]

    written = result.stat().st_mtime_ns
    third = start()
    output, _ = third.communicate(timeout=SECONDS)
    assert third.returncode == 1, output
    assert result.stat().st_mtime_ns == written


def test_the_peak_memory_survives_the_resets_of_the_log(
    tmp_path: Path, tiny_options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toolbox resets the peak of a GPU each time it logs."""
    peaks = iter([3, 7, 2])
    monkeypatch.setattr(
        'mmseg_encnet.workbench.studies.execution.peak_process_bytes', lambda _: next(peaks)
    )
    options = {**tiny_options, 'train_cfg.max_iters': 3, 'train_cfg.val_interval': 3}
    run = Run(Variant('EncNet', 'encnet_r18_msrc21', options), seed=0)
    assert execute(run, 'mIoU', tmp_path / 'work', {}).peak_memory == 7
