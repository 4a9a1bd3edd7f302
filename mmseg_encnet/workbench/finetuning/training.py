"""Train a shipped network on the user's data: config, training with progress, results."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed
from tqdm import tqdm

from mmseg_encnet.checkpoints.files import write_checkpoint
from mmseg_encnet.checkpoints.publishing import publish_checkpoint
from mmseg_encnet.checkpoints.tensor_files import SUFFIX
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.disk import check_folder
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import (
    PredictionWriter,
    find_inputs,
    load_segmentor,
    write_predictions,
)
from mmseg_encnet.running.processes import training_process
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.workbench.converters.own.conversion import Converted, convert_own
from mmseg_encnet.workbench.converters.own.options import Reading, Splitting
from mmseg_encnet.workbench.finetuning.start import adapt_start, nearest_start
from mmseg_encnet.workbench.reporting import write_report

BATCH_SIZE = 4
_VALIDATIONS = 10
# Points of the curves in the report.
_LOGGED = 50
_PATIENCE = 3
_SHEETS = 8
# Warnings of the toolbox that need no action, one of them for each frozen parameter.
_NOISE = re.compile(r'requires_grad=False|prefix is not set|will be deprecated')
_CONFIG = """\
# Written by tools/finetune.py. Classes that the shipped network has keep its classifier.
_base_ = __import__('mmseg_encnet').config_file({base!r})

num_classes = {num_classes}
data_root = {root!r}
__metainfo = {metainfo}
__dataset = dict(
    _delete_=True,
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=__metainfo,
    img_suffix={suffix!r},
    seg_map_suffix='.png',
)

train_dataloader = dict(
    batch_size={batch_size},
    dataset=dict(
        **__dataset,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **__dataset,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader

# Random crops, the last stages of the backbone are tuned, and all classes weigh the same.
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(frozen_stages=2),
    decode_head=dict(num_classes=num_classes, loss_decode=dict(class_weight=None)),
    auxiliary_head=dict(num_classes=num_classes),
)
custom_hooks = []
load_from = {start!r}
train_cfg = dict(max_iters={iterations}, val_interval={interval})
default_hooks = dict(
    logger=dict(interval={log_interval}),
    checkpoint=dict(interval={interval}, max_keep_ckpts=1, save_best='mIoU'),
    early_stopping=dict(
        type='mmengine.ResumableEarlyStoppingHook', monitor='mIoU', patience={patience}
    ),
)
log_level = 'WARNING'
"""


@dataclass(frozen=True)
class Outcome:
    """Results of a training.

    Attributes:
        data: The converted images and labels.
        start: Name of the shipped network that it started from.
        config, checkpoint, report, sheets: Files and folder.
        best: Best mIoU on the validation images, in percent.
        iterations: Iterations until the end or the early stop.
        missing: One sentence for each part of the report that is missing.
    """

    data: Converted
    start: str
    config: Path
    checkpoint: Path
    report: Path
    sheets: Path
    best: float
    iterations: int
    missing: list[str]


def finetune(
    src: Path,
    out: Path,
    iterations: int,
    options: dict[str, Any] | None = None,
    reading: Reading | None = None,
    splitting: Splitting | None = None,
    file: str = 'model.pth',
    report: Callable[[Converted], None] = lambda data: None,
) -> Outcome:
    """Train the nearest shipped network on the user's data.

    Args:
        src: Images and labels in any format of :func:`convert_own`.
        out: Folder to write; it must be empty or missing.
        iterations: Maximum number of iterations. Training ends earlier if three validations in a
            row do not improve the mIoU.
        options: Overrides of the config by dotted key.
        reading: How to read images and labels.
        splitting: How to divide them.
        file: Name in the folder for the best checkpoint. One that ends in
            ``.safetensors`` contains the weights and classes alone.
        report: Called with the converted data before training.

    Raises:
        UserError: The folder is not empty or not writable, the data cannot be used, or an option
            does not fit the config.
        Stopped: A signal has stopped the training, with a checkpoint.
    """
    if iterations < 1:
        raise UserError(f'iterations must be positive, got {iterations}.')
    if Path(file).name != file:
        raise UserError(f'got the checkpoint {file!r}, expected a file name without a folder.')
    check_folder(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f'output folder {out} is not empty; choose another one.')
    data = convert_own(src, out / 'data', reading, splitting)
    report(data)
    start = nearest_start(data.classes)
    weights = adapt_start(start, data.classes)
    config = _write_config(data, out, start, iterations)
    write_checkpoint(out / 'start.pth', dict(state_dict=weights, meta={}))
    cfg = load_config(str(config), options, str(out))

    set_random_seed(0)
    progress = _ProgressHook()
    with training_process(cfg):
        with warnings.catch_warnings():
            # The hook that draws validation images is off, as in every config.
            warnings.filterwarnings('ignore', 'The draw is False')
            runner = EncNetRunner.from_cfg(cfg)
        runner.resume_command = shlex.join(
            ['tools/train.py', str(config), '--work-dir', str(out), '--resume']
        )
        runner.register_hook(progress, priority='VERY_LOW')
        runner.logger.addFilter(_without_noise)
        try:
            runner.train()
        finally:
            # Otherwise, the line of a stop would follow it.
            if progress.bar is not None:
                progress.bar.close()

    best = max(out.glob('best_mIoU_iter_*.pth'), key=lambda path: path.stat().st_mtime)
    checkpoint, page, sheets = out / file, out / 'report.html', out / 'predictions'
    if checkpoint.suffix == SUFFIX:
        publish_checkpoint(best, checkpoint)
    else:
        shutil.copyfile(best, checkpoint)
    missing = write_report([out], page, which='best')
    segmentor = load_segmentor(cfg, str(checkpoint))
    files = sorted(map(str, (data.root / 'images' / 'val').rglob(f'*{data.suffix}')))[:_SHEETS]
    with PredictionWriter(sheets, segmentor, overlays=True, sheets=True) as writer:
        missing += filter(None, write_predictions(segmentor, find_inputs(files, sheets), writer))
    return Outcome(
        data, start, config, checkpoint, page, sheets, progress.best, progress.iterations, missing
    )


def _write_config(data: Converted, out: Path, start: str, iterations: int) -> Path:
    config = out / 'finetuned.py'
    config.write_text(
        _CONFIG.format(
            base=start,
            num_classes=len(data.classes),
            root=str(data.root.resolve()),
            metainfo=pformat(dict(classes=tuple(data.classes), palette=data.palette)),
            suffix=data.suffix,
            batch_size=min(BATCH_SIZE, data.summary.counts['train']),
            start=str((out / 'start.pth').resolve()),
            iterations=iterations,
            interval=max(iterations // _VALIDATIONS, 1),
            log_interval=max(iterations // _LOGGED, 1),
            patience=_PATIENCE,
        ),
        encoding='utf-8',
    )
    return config


def _without_noise(record: logging.LogRecord) -> bool:
    return not _NOISE.search(record.getMessage())


class _ProgressHook(Hook):
    """Show iterations, time left, loss and the best mIoU; keep the iterations and the best mIoU."""

    def __init__(self) -> None:
        self.best, self.iterations = float('nan'), 0
        self.bar: tqdm | None = None

    def before_train(self, runner) -> None:
        # Averaging over all iterations, the estimate includes the time of the validations.
        self.bar = tqdm(total=runner.max_iters, unit='iteration', smoothing=0)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.iterations = runner.iter + 1
        best = '-' if np.isnan(self.best) else f'{self.best:.1f}'
        self.bar.set_postfix(loss=f'{outputs["loss"].item():.2f}', mIoU=best, refresh=False)
        self.bar.update()

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.best = float(np.fmax(self.best, metrics['mIoU']))
