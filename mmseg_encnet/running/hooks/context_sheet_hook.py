"""Context sheets of a few validation images during training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from mmseg_encnet.datasets.loading import read_for_display
from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization.style import pixels


@HOOKS.register_module()
class ContextSheetHook(Hook):
    """Draws the sheets of the same few validation images at each validation.

    They are sent to all backends of the runner's visualizer, regardless of its type, under
    ``context_INDEX_NAME`` and the iteration. Codeword and channel maps are requested for these
    images only, from the forward pass of the validation itself; metrics, random states and training
    are the same as without the hook.

    In distributed training the main process draws images of its part of the validation set, which
    is every n-th image with n processes.

    Args:
        indices: Indices into the validation set, or the number of images, spread evenly over it.

    Raises:
        UserError: ``indices`` are invalid.
    """

    def __init__(self, indices: int | Sequence[int] = 4) -> None:
        wanted = [indices] if isinstance(indices, int) else list(indices)
        if (
            not wanted
            or not all(isinstance(index, int) for index in wanted)
            or (isinstance(indices, int) and indices < 1)
            or min(wanted) < 0
        ):
            raise UserError(
                f'got ContextSheetHook(indices={indices!r}), expected a positive number of images '
                'or a list of indices into the validation set.'
            )
        self.indices = indices
        self._index_of: dict[str, int] = {}

    def before_train(self, runner) -> None:
        if runner.val_loop is not None:
            self.before_val_epoch(runner)

    def before_val_epoch(self, runner) -> None:
        """Find the paths of the images, which identify samples in any order."""
        if self._index_of or not is_main_process():
            return
        dataset = runner.val_loop.dataloader.dataset
        for index in self._chosen(len(dataset), runner):
            self._index_of[dataset.get_data_info(index)['img_path']] = index

    def before_val_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        for data_sample in data_batch['data_samples']:
            if data_sample.metainfo.get('img_path') in self._index_of:
                data_sample.set_metainfo(dict(context_maps=True))

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for data_sample in outputs:
            path = data_sample.metainfo.get('img_path')
            if path in self._index_of:
                self._draw(runner, path, data_sample)

    def _draw(self, runner, path: str, data_sample: SegDataSample) -> None:
        dataset = runner.val_loop.dataloader.dataset
        meta = dataset.metainfo
        image = read_for_display(path, dataset)
        # Imported here because it loads matplotlib.
        from mmseg_encnet.visualization.context_sheet import draw_sample

        name = PurePosixPath(path).stem
        sheet = draw_sample(image, data_sample, meta, f'{name}, iteration {runner.iter}')
        runner.visualizer.add_image(
            f'context_{self._index_of[path]}_{name}', pixels(sheet), runner.iter
        )

    def _chosen(self, length: int, runner) -> list[int]:
        # The indices that the samplers of the toolbox assign to the main process.
        own = range(0, length, get_world_size())
        if isinstance(self.indices, int):
            places = np.linspace(0, len(own) - 1, min(self.indices, len(own)))
            return [own[round(place)] for place in places]
        beyond = [index for index in self.indices if index >= length]
        if beyond:
            raise UserError(
                f'got ContextSheetHook(indices={self.indices}), expected indices up to '
                f'{length - 1}: the validation set has {length} images.'
            )
        left_out = [index for index in self.indices if index not in own]
        if left_out:
            runner.logger.warning(
                f'ContextSheetHook skips the images {left_out}, which other processes evaluate; '
                f'choose indices divisible by {own.step}.'
            )
        return [index for index in self.indices if index in own]
