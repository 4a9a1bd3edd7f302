"""From a run to its report: evaluation, cache and messages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.processes import run_training
from mmseg_encnet.workbench.reporting import evaluation_record, write_report
from mmseg_encnet.workbench.reporting.confusion import class_iou
from mmseg_encnet.workbench.reporting.run_record import read_run


@pytest.fixture
def trained(tiny_config):
    """Train the shrunk network and return its run folder."""

    def train(options: dict | None = None, name: str = 'run') -> Path:
        cfg = tiny_config(options, name)
        run_training(cfg)
        return Path(cfg.work_dir)

    return train


def kept(run: Path) -> list[Path]:
    return sorted(path for path in (run / 'report').rglob('*') if path.is_file())


def test_evaluation_is_done_once_and_kept(trained, run_tool, tiny_data, tmp_path):
    run = trained()
    before = set(run.rglob('*'))
    page = tmp_path / 'pages' / 'report.html'
    result = run_tool('analysis_tools/report', run, '--out', page)
    assert result.status == 0 and 'missing' not in result.err
    assert 'average precision (%)' in page.read_text()
    # Only the cached evaluation is added to the folder.
    added = set(run.rglob('*')) - before
    assert added and all(path.is_relative_to(run / 'report') for path in added)
    assert all(not path.name.startswith('.') for path in added)

    record = read_run(run)
    evaluation = evaluation_record.evaluation_record(
        record.config(), record.checkpoint('last'), run / 'report', 'again'
    )
    assert evaluation.metrics['mIoU'] == pytest.approx(record.validation['mIoU'].values[-1])
    # The IoU of an absent class is NaN.
    iou = class_iou(evaluation.confusion)
    assert 100 * iou[iou == iou].mean() == pytest.approx(evaluation.metrics['mIoU'], abs=0.01)
    assert evaluation.probabilities.shape == evaluation.present.shape == (2, 21)
    assert len(evaluation.sheets) == 2
    assert evaluation.parameters > evaluation.parameters_at_inference > 0
    assert evaluation.peak_memory > 0 and evaluation.images_per_second > 0
    assert 'context/contradicted' in evaluation.metrics

    # From here on without the data, in another folder.
    shutil.rmtree(tiny_data)
    moved = run.rename(tmp_path / 'moved')
    files = {path.name: path.read_bytes() for path in kept(moved)}
    assert write_report([moved], page) == []
    assert {path.name: path.read_bytes() for path in kept(moved)} == files
    assert 'Run moved' in page.read_text() and 'average precision (%)' in page.read_text()
    # Another checkpoint is not cached.
    record = read_run(moved)
    with pytest.raises(UserError, match='does not exist'):
        evaluation_record.evaluation_record(
            record.config(), record.checkpoint('best'), moved / 'report', 'other'
        )


def test_model_without_se_branch(trained, tmp_path):
    run = trained({'model.decode_head.use_se_loss': False})
    page = tmp_path / 'report.html'
    assert write_report([run], page) == []
    assert 'its model has no SE branch' in page.read_text()
    assert 'Average precision of presence' not in page.read_text()


@pytest.mark.parametrize(
    'spoil, evaluate, words',
    [
        (lambda run: None, False, ['--no-evaluation']),
        (
            lambda run: [path.unlink() for path in run.glob('*.pth')],
            True,
            ['contains no checkpoint'],
        ),
        (
            lambda run: [path.write_bytes(b'x') for path in run.glob('*.pth')],
            True,
            ['iter_2.pth', 'checkpoint'],
        ),
        (
            lambda run: [
                path.write_text("model = dict(type='Nothing')") for path in run.rglob('config.py')
            ],
            True,
            ["'Nothing'"],
        ),
        (lambda run: [path.unlink() for path in run.rglob('config.py')], True, ['no config.py']),
    ],
)
def test_what_is_missing_is_said(spoil, evaluate, words, logged_run, tmp_path):
    spoil(logged_run)
    page = tmp_path / 'report.html'
    missing = write_report([logged_run], page, evaluate=evaluate)
    assert len(missing) == 1 and all(word in missing[0] for word in words)
    text = page.read_text()
    assert 'Validation mIoU' in text
    assert 'No confusion matrix for run' in text
    assert not (logged_run / 'report').exists()


@pytest.fixture
def logged_run(tiny_config, tmp_path) -> Path:
    """Return a run folder with an empty checkpoint."""
    run = tmp_path / 'run'
    logs = run / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    (logs / '20260101_000000.json').write_text(
        '{"lr": 0.1, "loss": 2.0, "time": 0.5, "step": 1}\n{"mIoU": 3.0, "step": 2}\n'
    )
    tiny_config().dump(logs / 'config.py')
    (run / 'iter_2.pth').touch()
    return run


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['nowhere'], ['nowhere', 'does not exist']),
        (['empty'], ['empty', 'contains no training log']),
        (['file.txt'], ['file.txt', 'is a file']),
        (['run', '../{here}/run'], ['twice']),
        (['run', '--out', 'empty'], ['empty', 'folder']),
        (['run', '--out', 'file.txt/report.html'], ['file.txt', 'choose another path']),
        (
            ['run', '--cfg-options', 'model.type.nothing=1'],
            ['model.type.nothing=1', 'does not fit'],
        ),
        (['run', '--cfg-options', 'data_root'], ['KEY=VALUE']),
    ],
)
def test_mistakes_on_the_command_line(arguments, words, logged_run, run_tool, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file.txt').write_text('no run')
    (tmp_path / 'report.html').write_text('of before')
    arguments = [argument.format(here=tmp_path.name) for argument in arguments]
    sentence = run_tool('analysis_tools/report', *arguments).sentence
    assert all(word in sentence for word in words)
    assert (tmp_path / 'report.html').read_text() == 'of before'
    assert not (logged_run / 'report').exists()


def test_damaged_kept_evaluation_names_its_folder(logged_run, tmp_path):
    record = read_run(logged_run)
    identity = evaluation_record._identity(record.config(), record.checkpoint('last'))
    (logged_run / 'report' / identity).mkdir(parents=True)
    (missing,) = write_report([logged_run], tmp_path / 'report.html')
    assert identity in missing and 'delete' in missing
