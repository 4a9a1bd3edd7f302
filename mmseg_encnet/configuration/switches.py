"""What the tools' options switch in a config."""

from __future__ import annotations

import torch
from mmengine.config import Config

from mmseg_encnet.errors import UserError


def use_mixed_precision(cfg: Config) -> None:
    """Switch a config's training to automatic mixed precision.

    Raises:
        UserError: Without a GPU, where the toolbox has no mixed precision.
    """
    if not torch.cuda.is_available():
        raise UserError(
            '--amp came, but mixed precision needs a GPU and none is here; leave --amp out.'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def use_test_time_augmentation(cfg: Config, prefix: str = '') -> None:
    """Switch a config's test to its ``tta_model`` and ``tta_pipeline``.

    Args:
        cfg: The config, changed in place.
        prefix: ``published_`` for the pair of that prefix: the evaluation of the published figures.

    Raises:
        UserError: If the config has none.
    """
    keys = f'{prefix}tta_model', f'{prefix}tta_pipeline'
    missing = [key for key in keys if key not in cfg]
    if missing:
        option = f'--{prefix}tta'.replace('_', '-')
        raise UserError(
            f'{option} came, but the config has no {" and no ".join(missing)}; inherit '
            'from one of the shipped data set bases.'
        )
    model, pipeline = (cfg[key] for key in keys)
    cfg.test_dataloader.dataset.pipeline = pipeline
    cfg.model = dict(model, module=cfg.model)


def save_predictions(cfg: Config, out_dir: str) -> None:
    """Have the test write its predictions, one PNG of class indices an image, to a folder."""
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if evaluator['type'] == 'IoUMetric':
            evaluator['output_dir'] = out_dir


def draw_predictions(cfg: Config, out_dir: str) -> None:
    """Have the test draw truth and prediction over every image, into a folder."""
    cfg.default_hooks.visualization = dict(type='SegVisualizationHook', draw=True)
    cfg.visualizer.save_dir = out_dir
    # Under the name of one that exists already the process would go on with that one's folder.
    cfg.visualizer.name = f'draw into {out_dir}'
