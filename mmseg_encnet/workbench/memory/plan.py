"""Plan the memory of a training step and of inference of a config."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.benchmarks import model as benchmark
from mmseg_encnet.workbench.memory import HEADS
from mmseg_encnet.workbench.memory.meter import Meter

_PARTS = {
    'backbone': 'backbone',
    'neck': 'neck',
    'decode_head': 'decode head',
    'auxiliary_head': 'auxiliary head',
}
LOSSES = 'losses'


@dataclass(frozen=True)
class MemoryPlan:
    """Memory in bytes.

    Attributes:
        batch: Images in a training step.
        crop: Height and width of the images.
        parameters: Parameters and buffers.
        gradients: Gradients of the parameters.
        optimizer: State of the optimiser.
        inputs: Images and labels of a training step.
        activations: What the forward pass of a training step keeps for the backward pass, by part.
        training_peak: Peak of a training step, with everything above.
        inference_peak: Peak of a prediction of one image, in windows as the config says.
    """

    batch: int
    crop: tuple[int, int]
    parameters: int
    gradients: int
    optimizer: int
    inputs: int
    activations: dict[str, int]
    training_peak: int
    inference_peak: int


def with_head(cfg: Config, head: str) -> Config:
    """Return the config with this package's head or with the toolbox's, see :data:`HEADS`.

    Raises:
        UserError: The config has another head than EncNet's.
    """
    if head == 'own':
        return cfg
    if cfg.model.decode_head.type != 'EncodingHead':
        raise UserError(
            f'got a config with decode_head.type={cfg.model.decode_head.type!r}, expected '
            "'EncodingHead' to replace it with mmseg's EncHead; omit --head."
        )
    cfg = copy.deepcopy(cfg)
    cfg.model = benchmark.with_parts(cfg.model, benchmark.CONTENDERS[HEADS[head]].changes)
    return cfg


def plan_memory(
    cfg: Config, batch: int | None = None, crop: tuple[int, int] | None = None
) -> MemoryPlan:
    """Compute the memory that a config needs, without allocating it.

    Args:
        cfg: Config with ``model``, ``optim_wrapper`` and ``train_dataloader``.
        batch: Images in a training step on one GPU; by default those of the config.
        crop: Height and width of the images; by default those of the config.

    Raises:
        UserError: A number is not positive, or the network cannot train with such a batch.
    """
    batch, size = batch_and_crop(cfg, batch, crop)
    init_default_scope('mmseg')
    network = build(cfg, 'meta')
    meter = Meter()
    with meter.labelled('parameters'):
        for tensor in (*network.parameters(), *network.buffers()):
            meter.add(tensor)
    optimizer = build_optimizer(network, cfg)
    kept: dict[str, int] = {}
    with meter, labels_of_parts(network, meter), warnings.catch_warnings():
        # The toolbox warns of sizes at which it resizes.
        warnings.filterwarnings('ignore', module='mmseg')
        with meter.labelled('inputs'):
            images, samples = make_batch(network, batch, size, 'meta')
        # The first step creates the optimiser's state.
        _try(network, images, samples, optimizer)
        meter.restart()
        train(network, images, samples, optimizer, lambda: kept.update(meter.live))
        training_peak, inputs = meter.peak, meter.live['inputs']
        state = sum(
            value.nbytes
            for entries in optimizer.state.values()
            for value in entries.values()
            if isinstance(value, Tensor)
        )
        optimizer.state.clear()
        del images, samples
        images, samples = make_batch(network, 1, size, 'meta')
        meter.restart()
        predict(network, images, samples)
    labels = (*_PARTS.values(), LOSSES)
    return MemoryPlan(
        batch=batch,
        crop=size,
        parameters=meter.live['parameters'],
        gradients=sum(p.nbytes for p in network.parameters() if p.requires_grad),
        optimizer=state,
        inputs=inputs,
        activations={label: kept[label] for label in labels if kept.get(label)},
        training_peak=training_peak,
        inference_peak=meter.peak,
    )


def batch_and_crop(
    cfg: Config, batch: int | None, crop: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Return batch and crop, by default those of the config.

    Raises:
        UserError: A number is not positive.
    """
    batch = cfg.train_dataloader.batch_size if batch is None else batch
    height, width = cfg.model.data_preprocessor.size if crop is None else crop
    if min(batch, height, width) < 1:
        raise UserError(
            f'batch and crop must be positive, got a batch of {batch} and a crop of '
            f'{height} x {width}.'
        )
    return batch, (int(height), int(width))


def plan_contenders(config: str, batch: int, crop: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Return the planned peaks of `benchmarks.model`, in bytes, by task and contender."""
    cfg = load_config(config)
    plans = {HEADS[head]: plan_memory(with_head(cfg, head), batch, crop) for head in HEADS}
    most = "EncodingHead, recompute='most'"
    changed = copy.deepcopy(cfg)
    changed.model = benchmark.with_parts(cfg.model, benchmark.CONTENDERS[most].changes)
    plans[most] = plan_memory(changed, batch, crop)
    step, inference = benchmark.TASKS
    return {
        step: {name: plan.training_peak for name, plan in plans.items()},
        inference: {name: plan.inference_peak for name, plan in plans.items()},
    }


def build(cfg: Config, device: str) -> nn.Module:
    """Build the network of a config, without pretrained weights."""
    model = copy.deepcopy(cfg.model)
    model.backbone.init_cfg = None
    try:
        with torch.device(device):
            return MODELS.build(model).to(device)
    except RuntimeError:
        # Some backbones of the toolbox read values while they are built.
        return MODELS.build(model).to(device)


def make_batch(
    network: nn.Module, batch: int, size: tuple[int, int], device: str
) -> tuple[Tensor, list[SegDataSample]]:
    """Return images and samples as the data preprocessor returns them."""
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, padding_size=[0] * 4)
    samples = [SegDataSample(metainfo=dict(meta)) for _ in range(batch)]
    for sample in samples:
        labels = torch.randint(network.num_classes, (1, *size), device=device)
        sample.gt_sem_seg = PixelData(data=labels)
    return torch.rand(batch, 3, *size, device=device), samples


def train(
    network: nn.Module,
    images: Tensor,
    samples: list[SegDataSample],
    optimizer: torch.optim.Optimizer,
    before_backward: Callable[[], Any] = lambda: None,
) -> None:
    """Run a training step."""
    network.train()
    loss, _ = network.parse_losses(network.loss(images, samples))
    before_backward()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, samples: list[SegDataSample]) -> None:
    """Predict a batch."""
    network.eval()
    network.predict(images, samples)


def build_optimizer(network: nn.Module, cfg: Config) -> torch.optim.Optimizer:
    """Build the optimiser of a config."""
    # The toolbox logs the options of each parameter.
    logging.disable(logging.INFO)
    try:
        return build_optim_wrapper(network, cfg.optim_wrapper).optimizer
    finally:
        logging.disable(logging.NOTSET)


def _try(network: nn.Module, *args: Any) -> None:
    try:
        train(network, *args)
    except ValueError as error:
        if 'more than 1 value per channel' not in str(error):
            raise
        raise UserError(
            'a batch of one image leaves a batch norm of this config with one value per channel; '
            'plan for at least two with --batch 2.'
        ) from error


@contextlib.contextmanager
def labels_of_parts(network: nn.Module, meter: Meter, stages: bool = False) -> Iterator[None]:
    """Label what the parts of a network create with their names.

    Args:
        network: The network.
        meter: Meter that counts.
        stages: Whether the stages of a ResNet are parts.
    """

    def label(owner: Any, method: str, name: str) -> None:
        run = getattr(owner, method)

        def labelled(*args: Any, **kwargs: Any) -> Any:
            with meter.labelled(name):
                return run(*args, **kwargs)

        # An attribute of the instance hides the method of its class.
        owner.__dict__[method] = labelled
        undo.append((owner, method))

    undo: list[tuple[Any, str]] = []
    layers = getattr(network.backbone, 'res_layers', ()) if stages else ()
    for part, name in _PARTS.items():
        if part == 'backbone' and layers:
            # What no stage creates.
            name = 'stem'
        modules = getattr(network, part, None)
        for module in modules if isinstance(modules, nn.ModuleList) else [modules]:
            if module is None:
                continue
            label(module, 'loss' if part.endswith('head') else 'forward', name)
            if hasattr(module, 'loss_by_feat'):
                label(module, 'loss_by_feat', LOSSES)
    for index, name in enumerate(layers):
        label(getattr(network.backbone, name), 'forward', f'stage {index + 1}')
    try:
        yield
    finally:
        for owner, method in undo:
            del owner.__dict__[method]
