"""Changes that the options of the tools make to a config."""

from __future__ import annotations

import platform
from typing import Any

import torch
from mmengine.config import Config

from mmseg_encnet.disk import check_folder
from mmseg_encnet.errors import UserError


def use_mixed_precision(cfg: Config) -> None:
    """Switch the training of a config to automatic mixed precision.

    On a GPU this is float16 with a dynamic loss scale, unless the config says otherwise; on the CPU
    it is bfloat16, without a loss scale.

    Raises:
        UserError: There is no GPU, and the processor has no instructions for bfloat16 or the config
            asks for another precision.
    """
    wrapper = cfg.optim_wrapper
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
        return
    if not computes_in_bfloat16():
        raise UserError(
            'got --amp, but this processor has no instructions for bfloat16 (such as avx512_bf16 '
            'or amx_bf16) and no GPU is available; omit --amp.'
        )
    dtype = str(wrapper.pop('dtype', 'bfloat16')).removeprefix('torch.')
    if dtype not in ('bfloat16', 'None'):
        raise UserError(
            f"got --amp with optim_wrapper.dtype={dtype!r}, expected 'bfloat16' on a machine "
            'without a GPU; omit optim_wrapper.dtype.'
        )
    wrapper.pop('loss_scale', None)
    wrapper.type = 'mmengine.BFloat16OptimWrapper'


def computes_in_bfloat16() -> bool:
    """Return whether the processor has instructions for products in bfloat16.

    Without them oneDNN converts to single precision, which saves memory but no time.
    """
    if platform.machine().lower() in ('x86_64', 'amd64'):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
