from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image


@METRICS.register_module()
class LabelImageIoUMetric(IoUMetric):
    """``IoUMetric`` whose ``output_dir`` also takes labels one pixel high or wide.

    The toolbox drops sides of one pixel, and then fails or writes an image of another shape.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict[str, Any]]) -> None:
        """Process one batch, and write its labels."""
        output_dir, self.output_dir = self.output_dir, None
        try:
            super().process(data_batch, data_samples)
        finally:
            self.output_dir = output_dir
        if output_dir is None:
            return
        for sample in data_samples:
            labels = sample['pred_sem_seg']['data'][0].cpu().numpy()
            # As in the toolbox: the labels of ADE20K start at 1.
            labels = labels + bool(sample.get('reduce_zero_label'))
            path = Path(output_dir, f'{Path(sample["img_path"]).stem}.png')
            Image.fromarray(labels.astype(np.uint8)).save(path)
