"""Changes that the options of the tools make to a config."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

from mmseg_encnet.disk import check_folder
from mmseg_encnet.errors import UserError


def use_mixed_precision(cfg: Config) -> None:
    """Switch the training of a config to automatic mixed precision.

    Raises:
        UserError: No GPU is available, which the toolbox needs for mixed precision.
    """
    if not torch.cuda.is_available():
        raise UserError(
            'got --amp, but mixed precision needs a GPU and none is available; omit --amp.'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def use_deterministic_algorithms(cfg: Config) -> None:
    """Switch the training of a config to algorithms that give the same bits in every run.

    On a GPU they are slower. See ``docs/howto/train.md`` for what they do not cover.
    """
    cfg.randomness = dict(cfg.get('randomness') or {}, deterministic=True)
    # Otherwise cuDNN chooses algorithms by their time.
    cfg.setdefault('env_cfg', {})['cudnn_benchmark'] = False


def use_test_time_augmentation(cfg: Config, prefix: str = '') -> None:
    """Switch the test of a config to its ``tta_model`` and ``tta_pipeline``.

    Args:
        cfg: Config, changed in place.
        prefix: ``published_`` for the pair with this prefix, the evaluation of the published
            figures.

    Raises:
        UserError: The config lacks one of them.
    """
    keys = f'{prefix}tta_model', f'{prefix}tta_pipeline'
    missing = [key for key in keys if key not in cfg]
    if missing:
        option = f'--{prefix}tta'.replace('_', '-')
        raise UserError(
            f'got {option}, but the config has no {" and no ".join(missing)}; inherit from one of '
            'the shipped data set bases.'
        )
    model, pipeline = (cfg[key] for key in keys)
    cfg.test_dataloader.dataset.pipeline = pipeline
    cfg.model = dict(model, module=cfg.model)


def save_predictions(cfg: Config, out_dir: str) -> None:
    """Write the predictions of a test to a folder, one PNG of class indices per image.

    Raises:
        UserError: The config has no evaluator that writes them, or the folder is not writable.
    """
    check_folder(out_dir)
    writing = [e for e in _test_evaluators(cfg) if e['type'] in ('CityscapesMetric', 'IoUMetric')]
    if not writing:
        raise UserError(
            'got --out, but test_evaluator of the config has no IoUMetric, which writes the '
            "predictions; add dict(type='IoUMetric') to it, or use tools/infer.py."
        )
    for evaluator in writing:
        evaluator['output_dir'] = out_dir
        if evaluator['type'] == 'IoUMetric':
            evaluator['type'] = 'LabelImageIoUMetric'


def _test_evaluators(cfg: Config) -> list[dict[str, Any]]:
    evaluators = cfg.get('test_evaluator') or []
    return evaluators if isinstance(evaluators, list) else [evaluators]


def draw_predictions(cfg: Config, out_dir: str) -> None:
    """Draw ground truth and prediction over every image of a test, into a folder.

    Raises:
        UserError: The folder is not writable.
    """
    check_folder(out_dir)
    cfg.default_hooks.visualization = dict(type='LoadedImageVisualizationHook', draw=True)
    cfg.visualizer.save_dir = out_dir
    # A visualizer with an existing name would keep the folder of the first one.
    cfg.visualizer.name = f'draw into {out_dir}'
