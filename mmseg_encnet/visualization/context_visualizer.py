"""A visualizer that draws context sheets."""

from __future__ import annotations

from dataclasses import replace

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_encnet.visualization.style import pixels


@VISUALIZERS.register_module()
class ContextVisualizer(SegLocalVisualizer):
    """mmseg's ``SegLocalVisualizer`` with one context sheet per image.

    It takes the same arguments and replaces it in a config: ``visualizer=dict(
    type='ContextVisualizer', vis_backends=..., name='visualizer')``. Sheets are sent to every
    backend, to ``show``, ``out_file`` and ``get_image``, like the overlays of
    ``SegLocalVisualizer``. ``ContextEncoderDecoder`` adds codeword and channel maps to its
    predictions if ``model.test_cfg.context_maps`` is set.
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        **kwargs,
    ) -> None:
        """Draw the sheet of one image and send it to all backends.

        Without a prediction, ``SegLocalVisualizer`` draws the image.

        Args:
            name: Identifier of the image and title of the sheet.
            image: RGB image ``(H, W, 3)`` uint8.
            data_sample: The prediction, optionally with ground truth.
            draw_gt: Whether to draw the ground truth.
            draw_pred: Whether to draw the prediction.
            show: Whether to open a window.
            wait_time: Seconds until the window closes; 0 waits for a key.
            out_file: File to write instead of sending the sheet to the backends.
            step: Step of the run.
            **kwargs: Further arguments of ``SegLocalVisualizer``, used without a prediction.

        Raises:
            UserError: Image, ground truth and prediction differ in size.
        """
        if data_sample is None or not draw_pred or 'pred_sem_seg' not in data_sample:
            drawn = data_sample, draw_gt, draw_pred, show, wait_time, out_file, step
            super().add_datasample(name, image, *drawn, **kwargs)
            return
        # Imported here because it loads matplotlib.
        from mmseg_encnet.visualization.context_sheet import ContextPrediction, draw_sheet

        context = ContextPrediction.from_data_sample(
            image, data_sample, self.dataset_meta['classes'], self.dataset_meta['palette']
        )
        if not draw_gt:
            context = replace(context, truth=None)
        sheet = pixels(draw_sheet(context, title=name))
        self.set_image(sheet)
        if show:
            self.show(sheet, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(sheet), out_file)
        else:
            self.add_image(name, sheet, step)
