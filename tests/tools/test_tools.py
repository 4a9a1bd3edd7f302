"""The tools as started on the command line, in this process where possible."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21, ROOT, option_strings
from waiting import free_port

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets import MSRC21Dataset

TOOLS = ROOT / 'tools'


@pytest.fixture
def checkpoint(tmp_path, tiny_options) -> Path:
    """Return weights of the shrunk network, as written in training."""
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(MSRC21), tiny_options).model)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def test_train_and_test(run_tool, tiny_options, tmp_path):
    trained = run_tool('train', MSRC21, '--work-dir', 'work', options=tiny_options)
    assert trained.status == 0
    assert 'decode.loss_se' in trained.out
    weights = tmp_path / 'work' / 'iter_2.pth'
    tested = run_tool(
        'test',
        MSRC21,
        weights,
        '--tta',
        '--out',
        'out',
        '--show-dir',
        'show',
        '--work-dir',
        'test',
        options=tiny_options,
    )
    assert tested.status == 0
    assert 'mIoU' in tested.out and 'aAcc' in tested.out
    assert len(list((tmp_path / 'out').glob('*.png'))) == 2
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 2


def test_infer_writes_what_it_can_read(run_tool, checkpoint, tiny_data, tiny_options, tmp_path):
    folder = tiny_data / 'images' / 'val'
    (folder / 'below').mkdir()
    Image.new('L', (50, 40), 90).save(folder / 'below' / 'grey.PNG')
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'notes.txt').write_text('no image either')
    result = run_tool(
        'infer',
        MSRC21,
        checkpoint,
        folder,
        '--out-dir',
        'out',
        '--overlays',
        '--sheets',
        options=tiny_options,
    )
    assert result.status == 1
    assert '3 of 4 images written to out' in result.out
    assert f'error: image file {folder / "broken.jpg"} cannot be decoded' in result.err
    assert 'Traceback' not in result.err

    written = {
        str(path.relative_to(tmp_path / 'out')): path
        for path in (tmp_path / 'out').rglob('*')
        if path.is_file()
    }
    names = ['0', '1', 'below/grey']
    assert set(written) == {
        'predictions.jsonl',
        *(f'{name}.png' for name in names),
        *(f'overlays/{name}.jpg' for name in names),
        *(f'sheets/{name}.png' for name in names),
    }
    records = {
        record['labels']: record for record in map(json.loads, written['predictions.jsonl'].open())
    }
    for name, size in (('0.png', (56, 72)), ('1.png', (72, 56)), ('below/grey.png', (50, 40))):
        picture = Image.open(written[name])
        assert picture.mode == 'P' and picture.size == size
        labels, colours = np.array(picture), np.array(picture.convert('RGB'))
        assert labels.max() < 21
        assert (colours == np.array(MSRC21Dataset.METAINFO['palette'])[labels]).all()
        record = records[name]
        assert (record['width'], record['height']) == size
        assert list(record['presence']) == list(MSRC21Dataset.METAINFO['classes'])
        shares = {
            MSRC21Dataset.METAINFO['classes'][index]: (labels == index).mean()
            for index in np.unique(labels)
        }
        assert record['areas'] == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize(
    'inputs, words',
    [
        (['empty'], ['empty', 'no images']),
        (['nowhere'], ['nowhere', 'does not exist']),
        (['empty/**/*.jpg'], ["'empty/**/*.jpg'", 'no images']),
        (['one', 'text.mp4'], ['text.mp4', 'cannot be opened']),
        (['one', 'cut.avi'], ['cut.avi', 'of its 9 frames']),
        (['one/a.jpg', 'two/a.png'], ['one/a.jpg', 'two/a.png', 'a.png']),
        (['one', '--presence-threshold', '1.5'], ['presence_threshold', '1.5']),
        (['one', '--out-dir', 'text.mp4'], ['text.mp4', 'choose another path']),
    ],
)
def test_infer_without_usable_inputs(inputs, words, run_tool, checkpoint, tiny_options, tmp_path):
    for folder in ('empty', 'one', 'two'):
        (tmp_path / folder).mkdir()
    for file in ('one/a.jpg', 'two/a.png'):
        Image.new('RGB', (50, 40)).save(tmp_path / file)
    (tmp_path / 'text.mp4').write_text('no video')
    writer = cv2.VideoWriter(
        str(tmp_path / 'whole.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48)
    )
    for frame in np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    video = (tmp_path / 'whole.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(video[: len(video) * 2 // 3])
    result = run_tool('infer', MSRC21, checkpoint, *inputs, options=tiny_options)
    assert all(word in result.sentence for word in words), result.sentence
    assert not (tmp_path / 'predictions').exists()


def run(
    command: list[object], environment: dict[str, str], cwd: Path, **extra: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)),
        env={**environment, **extra},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_two_processes_train_and_test_without_a_gpu(environment, tiny_options, tmp_path):
    options = ['--cfg-options', *option_strings(tiny_options)]
    trained = run(
        [TOOLS / 'dist_train.sh', MSRC21, 2, '--work-dir', 'work', *options],
        environment,
        tmp_path,
        PORT=free_port(),
    )
    assert trained.returncode == 0, trained.stderr
    assert 'SyncBatchNorm cannot train on the CPU' in trained.stdout + trained.stderr
    assert 'Distributed launcher: pytorch' in trained.stdout
    weights = tmp_path / 'work' / 'iter_2.pth'
    content = CheckpointLoader.load_checkpoint(str(weights))
    assert not any(key.startswith('module.') for key in content['state_dict'])

    tested = run(
        [TOOLS / 'dist_test.sh', MSRC21, weights, 2, '--tta', '--work-dir', 'test', *options],
        environment,
        tmp_path,
        PORT=free_port(),
    )
    assert tested.returncode == 0, tested.stderr
    assert 'mIoU' in tested.stdout


def test_a_script_of_its_own_ends_in_the_sentence(environment, tmp_path):
    """In a real process, the error stream contains only the sentence."""
    result = run([sys.executable, TOOLS / 'train.py', 'nowhere/config.py'], environment, tmp_path)
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    assert result.stderr.strip().splitlines()[-1] == (
        'error: config file nowhere/config.py does not exist; check the path.'
    )


@pytest.mark.parametrize(
    'script, arguments, usage',
    [
        ('dist_train.sh', [], 'CONFIG GPUS'),
        ('dist_train.sh', ['config.py'], 'CONFIG GPUS'),
        ('dist_test.sh', ['config.py', '2'], 'CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', ['partition', 'job'], 'PARTITION JOB_NAME CONFIG'),
        (
            'slurm_test.sh',
            ['partition', 'job', 'config.py'],
            'PARTITION JOB_NAME CONFIG CHECKPOINT',
        ),
        ('torchrun.sh', ['script'], 'SCRIPT PROCESSES'),
        ('slurm.sh', ['partition', 'job'], 'PARTITION JOB_NAME SCRIPT'),
    ],
)
def test_scripts_say_how_they_are_used(script, arguments, usage, environment, tmp_path):
    result = run([TOOLS / script, *arguments], environment, tmp_path)
    assert result.returncode == 2
    assert result.stdout == ''
    assert result.stderr.startswith(f'Usage: tools/{script} {usage}')
    assert 'unbound' not in result.stderr


@pytest.fixture
def recorded(environment, tmp_path):
    """Put commands on the path that only record their arguments."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('srun', 'fake-python'):
        script = folder / name
        script.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environment['PATH'] = f'{folder}{os.pathsep}{environment["PATH"]}'
    return environment


@pytest.mark.parametrize(
    'script, arguments, tool',
    [
        ('slurm_train.sh', ['config.py', '--cfg-options', 'a=1 2'], 'train.py'),
        ('slurm_test.sh', ['config.py', 'weights.pth', '--out', 'a dir'], 'test.py'),
    ],
)
def test_slurm(script, arguments, tool, recorded, tmp_path):
    result = run(
        [TOOLS / script, 'gpus', 'my job', *arguments],
        recorded,
        tmp_path,
        GPUS='16',
        GPUS_PER_NODE='4',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--quotatype=x -v',
        PYTHON='python3',
    )
    assert result.returncode == 0, result.stderr
    words = result.stdout.splitlines()
    assert words == [
        '-p',
        'gpus',
        '--job-name=my job',
        '--gres=gpu:4',
        '--ntasks=16',
        '--ntasks-per-node=4',
        '--cpus-per-task=3',
        '--kill-on-bad-exit=1',
        *['--signal=USR1@120'] * (tool == 'train.py'),
        '--quotatype=x',
        '-v',
        'python3',
        '-u',
        str(TOOLS / tool),
        *arguments,
        '--launcher',
        'slurm',
    ]


def test_slurm_on_a_part_of_a_node(recorded, tmp_path):
    result = run(
        [TOOLS / 'slurm_train.sh', 'gpus', 'job', 'config.py'],
        recorded,
        tmp_path,
        GPUS='2',
        PYTHON='python3',
    )
    assert {'--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'} <= set(result.stdout.splitlines())


_SRUN = """#!/usr/bin/env bash
echo "srun $*"
[ -f first ] && exit 0
touch first
trap 'exit 138' USR1
[ -n "${BEFORE_LIMIT:-}" ] || exit "$STATUS"
# As sbatch --signal=B:USR1 sends it to the script.
kill -USR1 $PPID
for _ in $(seq 100); do sleep 0.1; done
"""


@pytest.mark.parametrize(
    'variables, calls',
    [
        # A batch job is requeued, and resumes then.
        (dict(STATUS='138', SLURM_JOB_ID='7'), ['srun', 'scontrol requeue 7']),
        (dict(BEFORE_LIMIT='1', SLURM_JOB_ID='7'), ['srun', 'scontrol requeue 7']),
        (dict(STATUS='0', SLURM_JOB_ID='7', SLURM_RESTART_COUNT='1'), ['srun --resume']),
        # Without a batch job, there is nothing to requeue.
        (dict(STATUS='138'), ['srun', 'srun --resume']),
        # A training that has ended, failed or been cancelled stays so.
        *((dict(STATUS=status, SLURM_JOB_ID='7'), ['srun']) for status in ('0', '1', '2', '143')),
    ],
)
def test_slurm_requeues_what_the_time_limit_stopped(variables, calls, recorded, tmp_path):
    folder = tmp_path / 'bin'
    (folder / 'srun').write_text(_SRUN)
    (folder / 'scontrol').write_text('#!/bin/sh\necho "scontrol $*"\n')
    (folder / 'scontrol').chmod(0o755)
    result = run([TOOLS / 'slurm_train.sh', 'gpus', 'job', 'c.py'], recorded, tmp_path, **variables)
    shown = [
        f'srun{" --resume" * ("--resume" in line)}' if line.startswith('srun') else line
        for line in result.stdout.splitlines()
    ]
    assert shown == calls
    assert 'c.py' in result.stdout and '--signal=USR1@120' in result.stdout
    ended = len(calls) > 1 or variables.get('STATUS') == '0'
    assert result.returncode == (0 if ended else int(variables['STATUS'])), result.stderr


def test_several_nodes(recorded, tmp_path):
    result = run(
        [TOOLS / 'dist_train.sh', 'config.py', 8, '--resume'],
        recorded,
        tmp_path,
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='10.0.0.1',
        PORT='1234',
        PYTHON='fake-python',
    )
    assert result.stdout.splitlines() == [
        str(TOOLS / 'torchrun.py'),
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=10.0.0.1',
        '--master_port=1234',
        '--nproc_per_node=8',
        str(TOOLS / 'train.py'),
        'config.py',
        '--resume',
        '--launcher',
        'pytorch',
    ]
