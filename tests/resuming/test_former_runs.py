"""Work dirs of former versions resume, test, convert and report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from process_group import in_process_group
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.runner import EncNetRunner

RUNS = Path(__file__).with_name('former_runs')
# Work dir, number of processes, last checkpoint and the one at the end.
FORMER = {
    'before_run_record/by_iteration': (1, 'iter_2.pth', 'iter_4.pth'),
    'before_run_record/by_epoch_in_two_processes': (2, 'epoch_1.pth', 'epoch_2.pth'),
}


def resumed_losses(work_dir: Path) -> list[float]:
    """Resume a run in every process and return the losses of all of its iterations."""
    torch.set_num_threads(1)
    clear_toolbox_state()
    launcher = 'pytorch' if torch.distributed.is_initialized() else 'none'
    cfg = load_config(str(work_dir / 'config.py'), work_dir=str(work_dir), launcher=launcher)
    cfg.resume = True
    runner = EncNetRunner.from_cfg(cfg)
    runner.train()
    return runner.message_hub.log_scalars['train/loss'].data[0].tolist()


@pytest.mark.parametrize('name', FORMER)
def test_a_former_run_resumes_tests_converts_and_reports(name, run_tool, tmp_path):
    processes, last, end = FORMER[name]
    work_dir = tmp_path / 'work'
    shutil.copytree(RUNS / name, work_dir)
    losses = in_process_group(processes, resumed_losses, work_dir)[0]
    version, _, run = name.partition('/')
    expected = json.loads((RUNS / version / 'losses.json').read_text())[run]
    assert losses == pytest.approx(expected, rel=1e-3)
    assert 'run_record' in CheckpointLoader.load_checkpoint(str(work_dir / end))
    log = ' '.join(path.read_text() for path in work_dir.glob('*/*.log'))
    assert log.count('has no record of its run') == 1

    checkpoint = RUNS / name / last
    tested = run_tool('test', work_dir / 'config.py', checkpoint, '--work-dir', 'test')
    assert tested.status == 0
    assert 'mIoU' in next(Path('test').glob('*/*.json')).read_text()
    converted = run_tool('model_converters/convert', checkpoint, 'converted.pth')
    assert converted.status == 0 and Path('converted.pth').is_file()
    reported = run_tool('analysis_tools/report', work_dir, '--out', 'report.html')
    assert reported.status == 0 and Path('report.html').stat().st_size > 10_000
