"""Compute the features of a frozen backbone once per image."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import unwrapped

_GIB = 2**30


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Keeps the features of a frozen backbone for every image that the network sees in training.

    An image with the same pixels as an earlier one, in training or validation, gets the features of
    that one. Without random augmentation each image passes the backbone once; a pipeline with
    ``RepeatedViews`` passes it once per view. Losses and weights are those of a training without
    the hook, up to rounding: the batches of the backbone differ.

    Args:
        folder: Folder that keeps the features for later trainings and for other processes. Features
            of other weights are kept apart. Default: keep them in memory.
        max_gb: Limit of the cache in GiB. Features beyond it are computed each time.

    Raises:
        UserError: The limit is not positive or, when training begins, the backbone is not frozen.
    """

    def __init__(self, folder: str | None = None, max_gb: float = 8.0) -> None:
        if max_gb <= 0:
            raise UserError(f'max_gb of FeatureCacheHook must be positive, got {max_gb}.')
        self.folder = None if folder is None else Path(folder)
        self.max_gb = max_gb

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        model.train()
        check_frozen(model.backbone)
        self.cache = FeatureCache(model.backbone, self.folder, int(self.max_gb * _GIB))
        self._backbone = model.backbone
        self._backbone.forward = self.cache

    def after_train(self, runner) -> None:
        # The class's own method is found again.
        del self._backbone.forward
        self.cache.close()
        text = f'computed features of {self.cache.computed} images and reused {self.cache.reused}'
        if self.cache.rejected:
            text += f'; {self.cache.rejected} did not fit into max_gb={self.max_gb}'
        runner.logger.info(f'{text}.')


class FeatureCache:
    """A backbone's ``forward`` that keeps its results.

    Args:
        backbone: A frozen backbone.
        folder: Folder to keep the results in, None for memory.
        limit: Largest size of all results in bytes.

    Attributes:
        computed, reused, rejected: Numbers of images: passed through the backbone, found, and
            computed without being kept.
    """

    def __init__(self, backbone: nn.Module, folder: Path | None, limit: int) -> None:
        self._compute = backbone.forward
        self._memory: dict[str, list[Tensor]] = {}
        self._folder = None if folder is None else folder / _weights_digest(backbone)
        self._free = limit
        if folder is not None and folder.is_dir():
            self._free -= sum(path.stat().st_size for path in folder.rglob('*.pt'))
        self.computed = self.reused = self.rejected = 0

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        keys = [_image_digest(image) for image in images]
        features = [self._find(key) for key in keys]
        missing = [index for index, found in enumerate(features) if found is None]
        self.reused += len(keys) - len(missing)
        if missing:
            results = self._compute(images[missing])
            for row, index in enumerate(missing):
                features[index] = [result[row] for result in results]
                self._keep(keys[index], features[index])
            self.computed += len(missing)
        return tuple(
            torch.stack([level.to(images.device) for level in levels])
            for levels in zip(*features, strict=True)
        )

    def close(self) -> None:
        """Free the memory."""
        self._memory.clear()

    def _find(self, key: str) -> list[Tensor] | None:
        if self._folder is None:
            return self._memory.get(key)
        try:
            return torch.load(self._folder / f'{key}.pt', weights_only=True)
        except FileNotFoundError:
            return None

    def _keep(self, key: str, features: list[Tensor]) -> None:
        # Clones, because a row shares the memory of its batch.
        kept = [level.to('cpu', copy=True) for level in features]
        size = sum(level.nbytes for level in kept)
        if size > self._free:
            self.rejected += 1
            return
        self._free -= size
        if self._folder is None:
            self._memory[key] = kept
        else:
            buffer = io.BytesIO()
            torch.save(kept, buffer)
            write_whole(self._folder / f'{key}.pt', buffer.getbuffer())


def check_frozen(backbone: nn.Module) -> None:
    """Check that the features of an image are always the same.

    Raises:
        UserError: A parameter is trained, or a layer is random or changes its statistics.
    """
    how = 'freeze it: frozen=True for HFBackbone, frozen_stages=4 for ResNetV1s, EfficientNetLite.'
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            raise UserError(
                f'FeatureCacheHook needs a frozen backbone, but {name} of '
                f'{type(backbone).__name__} is trained; {how}'
            )
    for name, module in backbone.named_modules():
        changes = (
            isinstance(module, (_BatchNorm, _DropoutNd)) or 'DropPath' in type(module).__name__
        )
        if changes and module.training:
            raise UserError(
                f'FeatureCacheHook needs a frozen backbone, but {name} of '
                f'{type(backbone).__name__} is in training mode; {how}'
            )


def _image_digest(image: Tensor) -> str:
    data = image.detach().cpu().contiguous()
    digest = hashlib.blake2b(data.view(torch.uint8).numpy().tobytes(), digest_size=16)
    # Features have another dtype in mixed precision.
    amp = torch.is_autocast_enabled(image.device.type)
    mode = str(torch.get_autocast_dtype(image.device.type)) if amp else 'full'
    digest.update(f'{tuple(image.shape)} {image.dtype} {mode}'.encode())
    return digest.hexdigest()


def _weights_digest(backbone: nn.Module) -> str:
    digest = hashlib.blake2b(f'{backbone}'.encode(), digest_size=16)
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
