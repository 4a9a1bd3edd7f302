"""Normalisation of images with any number of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS

from mmseg_encnet.errors import UserError


@MODELS.register_module()
class ChannelsPreProcessor(SegDataPreProcessor):
    """The toolbox's ``SegDataPreProcessor`` for images with other than one or three channels.

    Args:
        mean: Mean of each channel, in the order and the range in which the pipeline loads them.
        std: Standard deviation of each channel.
        **kwargs: Other arguments of :class:`mmseg.models.SegDataPreProcessor`; ``bgr_to_rgb`` and
            ``rgb_to_bgr`` only affect three channels.

    Raises:
        UserError: ``mean`` and ``std`` differ in length, or a standard deviation is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise UserError(
                f'got mean={list(mean)} and std={list(std)}, expected one mean and one positive '
                'standard deviation for each channel.'
            )
        self._enable_normalize = True
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values).float().view(-1, 1, 1), False)
