"""Draw predictions over the images that the model has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import HOOKS
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample

from mmseg_encnet.datasets.loading import read_for_display


@HOOKS.register_module()
class LoadedImageVisualizationHook(SegVisualizationHook):
    """mmseg's ``SegVisualizationHook`` with images as the data set's pipeline loads them.

    The toolbox decodes every file as a colour image rotated by its EXIF orientation. The drawing is
    then wrong, or fails, for models whose pipeline loads images otherwise.

    It takes the same arguments.
    """

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: Any, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw the first image of the batch."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._draw('val', outputs[0], runner.val_loop.dataloader.dataset, step)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: Any, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw all images of the batch."""
        for data_sample in outputs if self.draw else ():
            self._test_index += 1
            self._draw('test', data_sample, runner.test_loop.dataloader.dataset, self._test_index)

    def _draw(self, kind: str, data_sample: SegDataSample, dataset: Any, step: int) -> None:
        path = data_sample.img_path
        self._visualizer.add_datasample(
            f'{kind}_{Path(path).name}',
            read_for_display(path, dataset),
            data_sample=data_sample,
            show=self.show,
            wait_time=self.wait_time,
            step=step,
        )
