"""Continue runs with changes, and in other processes, and compare them with undisturbed runs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from process_group import in_process_group
from tiny_scenes import CONFIG, TINY_SCENES
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.resume_options import parse_overrides
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.options import change_run
from mmseg_encnet.running.processes import run_training

ITERATIONS = 12
TOTAL_BATCH = 4
# Each changes the result; the kind accepts it.
CHANGES = {
    'lr': {'optim_wrapper.optimizer.lr': 0.001},
    'weight_decay': {'optim_wrapper.optimizer.weight_decay': 0.0},
    'optimizer': {'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=0.005)},
    'accumulation': {'optim_wrapper.accumulative_counts': 2},
    'clip_grad': {'optim_wrapper.clip_grad': dict(max_norm=1)},
    'schedule': {'param_scheduler.1.power': 2.0},
    'batch_size': {'train_dataloader.batch_size': 3},
    'sampler': {'train_dataloader.sampler.shuffle': True},
    'pipeline': {'train_dataloader.dataset.pipeline.RandomFlip.prob': 0.1},
    'classes': {'train_dataloader.dataset.ignore_index': 254},
    'data': {'train_dataloader.dataset.num_scenes': 39},
    'model': {'model.decode_head.dropout_ratio': 0.3},
    'seed': {'randomness.seed': 9},
    'ema': {'custom_hooks': [dict(type='RecordBatches'), dict(type='EMAHook')]},
}


@HOOKS.register_module()
class RecordBatches(Hook):
    """Writes which images each process trains on, with the sums of their pixels."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        samples = zip(data_batch['inputs'], data_batch['data_samples'])
        drawn = [(sample.img_path, float(pixels.double().sum())) for pixels, sample in samples]
        name = f'batch_{runner.iter}_of_{get_rank()}.pt'
        torch.save(drawn, Path(runner.work_dir) / name)


def train(
    work_dir: Path,
    options: dict[str, Any],
    override: str = '',
    extend_to: int | None = None,
) -> None:
    torch.set_num_threads(1)
    cfg = load_config(
        CONFIG,
        {
            **TINY_SCENES,
            'train_cfg.max_iters': ITERATIONS,
            'train_cfg.val_interval': 2 * ITERATIONS,
            'train_dataloader.batch_size': TOTAL_BATCH,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'custom_hooks': [dict(type='RecordBatches')],
            'randomness.seed': 1,
            'log_level': 'ERROR',
            **options,
        },
        str(work_dir),
        'pytorch' if torch.distributed.is_initialized() else 'none',
    )
    cfg.resume = True
    clear_toolbox_state()
    accepted = change_run(cfg, parse_overrides(override.split()), extend_to, resumes=True)
    run_training(cfg, accepted_changes=accepted)


def stopped(whole: Path, done: int, into: Path) -> Path:
    into.mkdir()
    shutil.copy(whole / f'iter_{done}.pth', into)
    (into / 'last_checkpoint').write_text(str(into / f'iter_{done}.pth'))
    return into


def batches(work_dir: Path, iteration: int) -> Counter:
    files = work_dir.glob(f'batch_{iteration}_of_*.pt')
    return Counter(sample for path in files for sample in torch.load(path))


def rates(path: Path) -> list[float]:
    groups = CheckpointLoader.load_checkpoint(str(path))['optimizer']['param_groups']
    return [group['lr'] for group in groups]


def measure() -> record.Figures:
    torch.set_num_threads(1)
    refused, samples, divisions, extended = 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / 'whole'
        train(whole, {})
        for kind, options in CHANGES.items():
            work_dir = stopped(whole, 6, folder / kind)
            try:
                train(work_dir, options)
            except UserError as error:
                assert f'accept it with --override {kind}.' in str(error), f'{kind}: {error}'
            else:
                raise AssertionError(f'{kind} was not refused')
            train(work_dir, options, override=kind)
            assert (work_dir / f'iter_{ITERATIONS}.pth').is_file(), kind
            refused += 1
        for before in (1, 2, 4):
            options = {'train_dataloader.batch_size': TOTAL_BATCH // before}
            first = folder / f'first_{before}'
            in_process_group(before, train, first, options)
            for after in (1, 2, 4):
                cut = stopped(first, 5, folder / f'{before}_{after}')
                in_process_group(after, train, cut, options)
                for iteration in range(5, ITERATIONS):
                    drawn = batches(cut, iteration)
                    assert drawn == batches(whole, iteration), f'{before} to {after}'
                    samples += drawn.total()
                divisions += 1
        for length in (13, 20, 40):
            longer = folder / f'longer_{length}'
            train(longer, {}, extend_to=length)
            work_dir = stopped(whole, 6, folder / f'extended_{length}')
            train(work_dir, {}, extend_to=length)
            for done in range(7, length + 1):
                file = f'iter_{done}.pth'
                assert rates(work_dir / file) == rates(longer / file), f'{length}: {file}'
                extended += 1
    return {
        'kinds of changes, each refused by name and accepted with its option': refused,
        'changes of the number of processes (1, 2 and 4 to 1, 2 and 4)': divisions,
        'samples and augmentations after them, all those of the undisturbed run': samples,
        'learning rates of extended runs, all those of a run of the new length': extended,
    }


if __name__ == '__main__':
    record.run(
        'Changed runs',
        'A run whose data, batch, optimiser, schedule, augmentation, model or seed has changed '
        'does not resume, unless the change is accepted by name. In another number of processes it '
        'trains on the same samples with the same augmentation in every iteration, and an extended '
        'run has the learning rates of a run of the new length.',
        measure,
    )
