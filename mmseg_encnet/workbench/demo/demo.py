"""The demo: train FCN and EncNet on the embedded data set and compare them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmseg.structures import SegDataSample
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.loading import read_for_display
from mmseg_encnet.disk import check_folder
from mmseg_encnet.predicting import load_segmentor
from mmseg_encnet.running.processes import training_process
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.workbench.demo.comparison import ComparedImage, draw_comparison
from mmseg_encnet.workbench.formatting import markdown_table

CONFIGS = {'FCN': 'fcn_r18_context-scenes', 'EncNet': 'encnet_r18_context-scenes'}


@dataclass(frozen=True)
class TrainedModel:
    """One model after training.

    Attributes:
        cfg: Its resolved config.
        checkpoint: Its last checkpoint.
        metrics: Metrics on the test scenes, in percent.
    """

    cfg: Config
    checkpoint: str
    metrics: dict[str, float]


class _ProgressHook(Hook):
    """Progress bars for training and evaluation."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def before_train(self, runner) -> None:
        self.bar = tqdm(total=runner.max_iters, desc=f'{self.title}: training', unit='it')

    def before_test(self, runner) -> None:
        total = len(runner.test_dataloader)
        self.bar = tqdm(total=total, desc=f'{self.title}: evaluation', unit='batch')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.bar.set_postfix(loss=f'{float(outputs["loss"]):.3f}', refresh=False)
        self.bar.update()

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.bar.update()

    def after_train(self, runner) -> None:
        self.bar.close()

    after_test = after_train


def train_model(title: str, seed: int, work_dir: Path) -> TrainedModel:
    """Train and evaluate one of :data:`CONFIGS`."""
    cfg = load_config(CONFIGS[title], work_dir=str(work_dir / title.lower()))
    cfg.randomness = dict(seed=seed)
    # The progress bars replace the log; evaluation runs once, after training.
    cfg.log_level = 'ERROR'
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.visualizer.name = f'demo_{title}'

    with training_process(cfg):
        runner = EncNetRunner.from_cfg(cfg)
        runner.resume_command = shlex.join(
            ['tools/train.py', CONFIGS[title], '--work-dir', cfg.work_dir, '--resume']
        )
        progress = _ProgressHook(title)
        runner.register_hook(progress)
        try:
            runner.train()
        finally:
            # Otherwise, the line of a stop would follow it.
            if progress.bar is not None:
                progress.bar.close()
    metrics = runner.test()
    checkpoint = os.fsdecode(Path(cfg.work_dir, 'last_checkpoint').read_bytes().strip())
    return TrainedModel(cfg, checkpoint, metrics)


def run_demo(seed: int, work_dir: Path, num_rows: int, report: Callable[[str], None]) -> None:
    """Train all models, then write ``metrics.md`` and the figure ``grid.png`` of some test scenes.

    Seeds the initialisation and the order of the scenes; ``report`` is called with the summary.
    """
    check_folder(work_dir, 'work dir')
    models = {title: train_model(title, seed, work_dir) for title in CONFIGS}

    table = metrics_table({title: model.metrics for title, model in models.items()})
    (work_dir / 'metrics.md').write_text(table + '\n', encoding='utf-8')
    grid = work_dir / 'grid.png'
    draw_grid(models, num_rows, grid)
    report(f'\n{table}\n\nfigure: {grid}\ntable:  {work_dir / "metrics.md"}')


def metrics_table(metrics: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table of metrics (rows) by model (columns), in percent."""
    models = list(metrics)
    # The runner adds its timings to the metrics.
    names = [name for name in metrics[models[0]] if name not in ('time', 'data_time')]
    rows = [[name, *(f'{metrics[model][name]:.1f}' for model in models)] for name in names]
    return markdown_table(['%', *models], rows)


def draw_grid(models: dict[str, TrainedModel], num_rows: int, path: Path) -> None:
    """Draw the first test scenes with the predictions of all models, to a file."""
    cfg = next(iter(models.values())).cfg
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = [dataset.get_data_info(index) for index in range(num_rows)]
    predictions: dict[str, list[SegDataSample]] = {}
    for title, model in models.items():
        segmentor = load_segmentor(model.cfg, model.checkpoint)
        predictions[title] = [segmentor.predict(info['img_path']) for info in infos]
    rows = []
    for index, info in enumerate(infos):
        image = read_for_display(info['img_path'], dataset)
        truth = mmcv.imfrombytes(
            fileio.get(info['seg_map_path']), flag='unchanged', backend='pillow'
        )
        labels = {
            title: samples[index].pred_sem_seg.data[0].cpu().numpy()
            for title, samples in predictions.items()
        }
        rows.append(ComparedImage(image, truth.astype(np.int64), labels))
    draw_comparison(rows, dataset.metainfo['classes'], dataset.metainfo['palette'], path)
