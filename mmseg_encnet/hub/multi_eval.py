"""The original's multi-scale evaluator, by its name and with its calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real

import torch
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.hub.encnet import EncNet
from mmseg_encnet.models.segmentors import PublishedTTAModel


class MultiEvalModule(PublishedTTAModel):
    """Scores single images of any size over scales, windows and mirrored windows.

    The scores are those of :class:`mmseg_encnet.models.PublishedTTAModel`, which the toolbox uses
    with ``tools/test.py --published-tta``.

    Args:
        module: The network; its ``base_size`` and ``crop_size`` are those of the evaluation.
        nclass: Number of classes of the network.
        device_ids: For compatibility. Images are scored one after another on the network's device,
            so at most one device is accepted.
        flip: Whether to add the scores of mirrored windows.
        scales: The scales that are summed.

    Raises:
        UserError: An argument is impossible or does not fit the network.

    Example:
        >>> import torch
        >>> from mmseg_encnet import EncNet, MultiEvalModule
        >>> model = EncNet(21, 'resnet50s', base_size=48, crop_size=32)
        >>> evaluator = MultiEvalModule(model, 21, scales=[1.0]).eval()
        >>> evaluator(torch.rand(1, 3, 60, 40)).shape
        torch.Size([1, 21, 60, 40])
    """

    def __init__(
        self,
        module: EncNet,
        nclass: int,
        device_ids: Sequence[int] | None = None,
        flip: bool = True,
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    ) -> None:
        if not isinstance(module, EncNet):
            raise UserError(
                f'got a {type(module).__name__}, expected an EncNet; evaluate other segmentors '
                'with mmseg_encnet.models.PublishedTTAModel.'
            )
        if nclass != module.nclass:
            raise UserError(
                f'got nclass={nclass!r}, expected the {module.nclass} classes of the network.'
            )
        if device_ids is not None and len(device_ids) > 1:
            raise UserError(
                f'got device_ids={device_ids!r}, expected at most one device; run '
                'tools/dist_test.sh with --published-tta to use several.'
            )
        if not scales or not all(isinstance(scale, Real) and scale > 0 for scale in scales):
            raise UserError(f'got scales={scales!r}, expected one or more positive numbers.')
        super().__init__(module, base_size=module.base_size, scales=scales, flip=flip)
        self.nclass = nclass
        self.crop_size = module.crop_size

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return the summed scores ``(1, nclass, H, W)`` of an image.

        Args:
            image: Normalised RGB image ``(1, 3, H, W)`` in its original size.
        """
        if image.dim() != 4 or len(image) != 1:
            raise UserError(
                f'got an image of shape {tuple(image.shape)}, expected (1, 3, H, W); pass images '
                'of (3, H, W) to parallel_forward, as a list.'
            )
        return self.score(image)

    def parallel_forward(self, inputs: Iterable[Tensor]) -> list[Tensor]:
        """Return the scores of each image.

        Args:
            inputs: Normalised RGB images ``(3, H, W)`` of any sizes.
        """
        device = next(self.parameters()).device
        return [self(image.unsqueeze(0).to(device)) for image in inputs]
