"""Build a model from a config and a checkpoint, ready to predict."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.models import BaseSegmentor
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_encnet.checkpoints.content import dataset_meta
from mmseg_encnet.checkpoints.fit import check_fits, plain_state_dict
from mmseg_encnet.checkpoints.remote import local_file
from mmseg_encnet.checkpoints.shipped_weights import SCHEME, checkpoint_name
from mmseg_encnet.datasets.checked import too_dark, what_is_broken
from mmseg_encnet.datasets.image_sizes import MAX_PIXELS
from mmseg_encnet.datasets.loading import (
    IMAGE_SUFFIXES,
    check_loader,
    displayable,
    in_rgb_order,
    read_image,
)
from mmseg_encnet.datasets.transforms.channelwise_resize import check_channels
from mmseg_encnet.errors import UserError, about, type_and_first_line
from mmseg_encnet.models.decode_heads import EncodingHead, PresenceHead
from mmseg_encnet.models.head_inputs import check_head_inputs
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.models.labels import set_integer_labels
from mmseg_encnet.models.segmentors import ContextEncoderDecoder
from mmseg_encnet.predicting.inputs import RAISE_LIMIT
from mmseg_encnet.predicting.memory import available_bytes, is_large, prediction_bytes
from mmseg_encnet.runtimes import Execution, choose_runtime, set_runtime

_OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory|Insufficient memory")


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image with the steps that prepare it for the network.

    Attributes:
        results: Results of the pipeline's first steps: the pixels ``img``, ``img_path`` (empty for
            an image without file), ``img_shape`` and ``ori_shape``.
        steps: Remaining steps of the pipeline.
        rgb_order: Whether red comes first instead of blue.
    """

    results: Mapping[str, Any]
    steps: Sequence[Callable[[dict[str, Any]], dict[str, Any]]]
    rgb_order: bool = False

    @property
    def num_pixels(self) -> int:
        """Number of pixels."""
        height, width = self.results['img'].shape[:2]
        return height * width

    @property
    def name(self) -> str:
        """Name for error messages: the file, and the size."""
        height, width = self.results['img'].shape[:2]
        file = f'image {self.results["img_path"]}' if self.results['img_path'] else 'an image'
        return f'{file} of {height}x{width} pixels (height x width)'

    def rgb(self) -> np.ndarray:
        """Return the pixels for display, ``(H, W, 3)`` uint8."""
        return displayable(self.results['img'], self.rgb_order)


@dataclass(frozen=True)
class PreparedImage:
    """An image that is ready for the network.

    Attributes:
        loaded: The decoded image.
        inputs: The network's input ``(C, H, W)``, before it is normalised.
        data_sample: Metainfo of the image, and later its prediction.
    """

    loaded: LoadedImage
    inputs: Tensor
    data_sample: SegDataSample

    @property
    def batch_key(self) -> Hashable:
        """What images of one batch have in common."""
        meta = self.data_sample.metainfo
        return (
            *self.inputs.shape,
            self.inputs.dtype,
            *(meta.get(key) for key in ('img_shape', 'pad_shape')),
        )

    @property
    def is_large(self) -> bool:
        """Whether the prediction needs much memory beside that of the network's weights."""
        return is_large(self.inputs, self.loaded.num_pixels)


class OutOfMemory(UserError):
    """A prediction needs more memory than is available."""


@dataclass(frozen=True)
class Segmentor:
    """A model ready to predict.

    Attributes:
        model: The segmentor in evaluation mode.
        pipeline: Test transforms from an image path to the network's input.
        classes: Class names by index.
        palette: RGB colours by index.
        max_pixels: Number of pixels above which an image is refused before it is decoded.
    """

    model: BaseSegmentor
    pipeline: Compose
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    max_pixels: int = MAX_PIXELS

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    @property
    def has_own_threads(self) -> bool:
        """Whether the network is computed by a runtime with threads of its own."""
        network = getattr(self.model, 'network', None)
        return isinstance(network, Execution) and network.has_own_threads

    @property
    def resize(self) -> dict[str, Any] | None:
        """Arguments ``scale`` and ``keep_ratio`` of the pipeline's ``Resize``; None without one."""
        step = next((step for step in self.pipeline.transforms if isinstance(step, Resize)), None)
        if step is None or step.scale is None:
            return None
        return dict(scale=list(step.scale), keep_ratio=step.keep_ratio)

    def load(self, image: str | Path | np.ndarray) -> LoadedImage:
        """Decode an image the way the pipeline does.

        Args:
            image: A file, or any path that the toolbox's file backends can open; or BGR pixels
                ``(H, W, 3)``, uint8.

        Raises:
            UserError: The file is not an image, or too large.
        """
        steps = list(self.pipeline.transforms)
        if isinstance(image, np.ndarray):
            loaders = [step for step in steps if isinstance(step, LoadImageFromFile)]
            if loaders and loaders[0].color_type.startswith('grayscale') and image.ndim == 3:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            size = image.shape[:2]
            results = dict(img=image, img_path='', img_shape=size, ori_shape=size)
            return LoadedImage(results, [step for step in steps if step not in loaders])
        try:
            results, remaining = read_image(str(image), steps, self.max_pixels, RAISE_LIMIT)
        except UserError:
            raise
        except Exception as error:
            if _is_out_of_memory(error):
                raise UserError(f'image {image} {_why_not(error)}') from error
            raise UserError(what_is_broken(dict(img_path=str(image)), error)) from error
        warning = too_dark(str(image), results['img'])
        if warning:
            warnings.warn(warning, stacklevel=2)
        return LoadedImage(results, remaining, in_rgb_order(steps))

    def prepare(self, image: LoadedImage) -> PreparedImage:
        """Run the remaining steps of the pipeline.

        Raises:
            UserError: The pipeline or the model cannot process the image.
        """
        packed, path = dict(image.results), image.results['img_path']
        try:
            for step in image.steps:
                check_channels(step, packed)
                packed = step(packed)
        except UserError:
            raise
        except Exception as error:
            if not path:
                raise
            if _is_out_of_memory(error):
                raise UserError(f'{image.name} {_why_not(error)}') from error
            raise UserError(what_is_broken(dict(img_path=path), error)) from error
        self._check_channels(image, packed['inputs'])
        return PreparedImage(image, packed['inputs'], packed['data_samples'])

    def predict(
        self,
        image: str | Path | np.ndarray | LoadedImage,
        context_maps: bool = False,
        seg_logits: bool = False,
    ) -> SegDataSample:
        """Predict one image.

        Args:
            image: What :meth:`load` accepts or returns.
            context_maps: Whether to add the context maps of :class:`ContextEncoderDecoder` to the
                prediction; ignored for other segmentors.
            seg_logits: Whether to add the scores of all classes, which take 4 bytes per class and
                pixel; other segmentors always do.

        Raises:
            UserError: The file is not an image, or the pipeline or the model cannot process it.
        """
        if not isinstance(image, LoadedImage):
            image = self.load(image)
        return self.predict_batch([self.prepare(image)], context_maps, seg_logits)[0]

    @torch.no_grad()
    def predict_batch(
        self,
        images: Sequence[PreparedImage],
        context_maps: bool = False,
        seg_logits: bool = False,
    ) -> list[SegDataSample]:
        """Predict prepared images together.

        Args:
            images: At least one image; all have the same :attr:`PreparedImage.batch_key`.
            context_maps: As of :meth:`predict`.
            seg_logits: As of :meth:`predict`.

        Raises:
            OutOfMemory: They need more memory than is available.
            UserError: The model cannot process them.
        """
        names = ', '.join(image.loaded.name for image in images)
        for image in images:
            self._check_memory(image, seg_logits)
            image.data_sample.set_metainfo(
                dict(context_maps=context_maps, keep_seg_logits=seg_logits)
            )
        batch = dict(
            inputs=[image.inputs for image in images],
            data_samples=[image.data_sample for image in images],
        )
        try:
            samples = self.model.test_step(batch)
        except UserError:
            raise
        except Exception as error:
            kind = OutOfMemory if _is_out_of_memory(error) else UserError
            raise kind(f'{names} {_why_not(error)}') from error
        for sample in samples:
            set_integer_labels(sample)
        return samples

    def _check_memory(self, image: PreparedImage, seg_logits: bool) -> None:
        """Raise an `OutOfMemory` if the prediction needs more memory than is available."""
        needed = prediction_bytes(self.model, image.inputs, image.loaded.num_pixels, seg_logits)
        available = available_bytes(self.device) if needed else None
        if available is not None and needed > available:
            raise OutOfMemory(
                f'{image.loaded.name} needs at least {needed / 2**30:.1f} GiB of memory, but '
                f'{available / 2**30:.1f} GiB are available; shrink it, or predict it in windows '
                'with model.test_cfg.mode=slide.'
            )

    def _check_channels(self, image: LoadedImage, inputs: Tensor) -> None:
        """Raise a `UserError` if the network expects another number of channels."""
        expected = input_channels(self.model.backbone)
        if expected != inputs.shape[0]:
            found = f'{inputs.shape[0]} channel{"s" * (inputs.shape[0] != 1)}'
            raise UserError(
                f'{image.name} has {found}, but the model expects {expected}; convert the image.'
            )


def load_segmentor(
    cfg: Config,
    checkpoint: str,
    device: str | None = None,
    max_pixels: int = MAX_PIXELS,
    runtime: str = 'torch',
    precision: str = 'float32',
) -> Segmentor:
    """Build a config's model and load a checkpoint into it.

    Args:
        cfg: A config with ``model`` and ``test_dataloader``.
        checkpoint: Checkpoint file, its address, or ``'pretrained'`` for the network that ships
            for the config.
        device: Device such as ``cpu`` or ``cuda:0``; by default a GPU if one is available.
        max_pixels: Number of pixels above which an image is refused before it is decoded.
        runtime: What computes the network: ``'torch'``, ``'onnxruntime'`` or ``'openvino'``, see
            :mod:`mmseg_encnet.runtimes`. ``segmentor.model`` keeps its layers and weights.
        precision: ``'float32'`` or ``'bfloat16'``.

    Raises:
        UserError: The checkpoint cannot be downloaded or read, does not fit the model or was
            trained on other classes than those of the config; or the runtime cannot compute in
            the precision on the device, is not installed or cannot compute the network.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    choice = choose_runtime(runtime, precision, device)
    checkpoint = local_file(checkpoint_name(checkpoint, cfg.filename))
    if not (checkpoint.startswith(SCHEME) or Path(checkpoint).is_file()):
        raise UserError(f'checkpoint {checkpoint} does not exist; check the path.')
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    model = MODELS.build(_with_labels_by_parts(cfg.model))
    check_head_inputs(model)
    with about(f'checkpoint {checkpoint}'):
        state_dict = plain_state_dict(content)
        _check_se_branch(model, state_dict)
        check_fits(model, state_dict, whole=True)
        meta = dataset_meta(content)
    model.load_state_dict(state_dict, strict=False)

    dataset_cfg = _leaf(cfg.test_dataloader.dataset)
    check_loader(dataset_cfg.pipeline)
    classes, palette = _classes(dataset_cfg, meta, checkpoint, model)
    pipeline = Compose([step for step in dataset_cfg.pipeline if step.type != 'LoadAnnotations'])
    # As the toolbox's init_model does, for whatever saves or evaluates the model afterwards.
    model.cfg, model.dataset_meta = cfg, dict(classes=classes, palette=palette)
    model = model.to(choice.model_device).eval()
    set_runtime(model, choice, checkpoint, cfg.model)
    return Segmentor(model, pipeline, classes, palette, max_pixels)


def _with_labels_by_parts(model_cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace the toolbox's segmentor by ours, which predicts the same labels in less memory.

    With an :class:`EncodingHead` or a :class:`PresenceHead` the predictions would differ: they
    would have the context.
    """
    aside = model_cfg.get('auxiliary_head') or []
    heads = [model_cfg['decode_head'], *(aside if isinstance(aside, list) else [aside])]
    with_context = (EncodingHead, PresenceHead)
    if _class_of(model_cfg) is EncoderDecoder and not any(
        isinstance(kind, type) and issubclass(kind, with_context) for kind in map(_class_of, heads)
    ):
        return dict(model_cfg, type=ContextEncoderDecoder)
    return model_cfg


def _class_of(part: Mapping[str, Any]) -> Any:
    return MODELS.get(part['type']) if isinstance(part['type'], str) else part['type']


def image_suffixes(cfg: Config) -> Sequence[str]:
    """Return the suffixes of the images that the test pipeline of a config loads."""
    steps = _leaf(cfg.test_dataloader.dataset).pipeline
    kinds = [str(getattr(step['type'], '__name__', step['type'])) for step in steps]
    arrays = any(kind.endswith('LoadImageFromNpyFile') for kind in kinds)
    return ('.npy',) if arrays else IMAGE_SUFFIXES


def suppress_absent_classes(cfg: Config, threshold: float) -> None:
    """Set the presence threshold below which a config's model suppresses a class.

    The model itself checks the threshold and its head when it is built.

    Raises:
        UserError: The config's segmentor does not predict the presence of classes.
    """
    segmentor = MODELS.get(cfg.model.type)
    if not (isinstance(segmentor, type) and issubclass(segmentor, ContextEncoderDecoder)):
        raise UserError(
            f"got presence threshold {threshold}, but the config's {cfg.model.type} does not "
            'predict which classes are present; use a config with ContextEncoderDecoder, or '
            'remove the threshold.'
        )
    cfg.model.setdefault('test_cfg', {})
    cfg.model.test_cfg.presence_threshold = threshold


def _is_out_of_memory(error: Exception) -> bool:
    # The allocator of the CPU raises a plain RuntimeError, OpenCV its own error.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or bool(
        _OUT_OF_MEMORY.search(str(error))
    )


def _why_not(error: Exception) -> str:
    """Return why an image cannot be processed, to follow its name."""
    if _is_out_of_memory(error):
        return 'needs more memory than is available; shrink it.'
    return f'cannot be processed ({type_and_first_line(error)}); remove it.'


def _check_se_branch(model: BaseSegmentor, state_dict: Mapping[str, Any]) -> None:
    key = 'decode_head.se_layer.weight'
    if (
        key in model.state_dict()
        and key not in state_dict
        and any(name.startswith('decode_head.') for name in state_dict)
    ):
        raise UserError(
            f"has no SE branch ({key}), but the config's model has one; use a checkpoint of "
            'this config, or predict without presence: '
            '--cfg-options model.decode_head.use_se_loss=False'
        )


def _leaf(dataset_cfg: Config) -> Config:
    """Return the config of the data set inside the toolbox's wrappers."""
    while 'pipeline' not in dataset_cfg:
        dataset_cfg = dataset_cfg.get('dataset') or dataset_cfg['datasets'][0]
    return dataset_cfg


def _classes(
    dataset_cfg: Config, meta: Mapping[str, Any], checkpoint: str, model: BaseSegmentor
) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Return names and colours of the classes, from the checkpoint or otherwise from the config."""
    dataset = dataset_cfg.type if isinstance(dataset_cfg.type, str) else dataset_cfg.type.__name__
    known = getattr(DATASETS.get(dataset), 'METAINFO', {})
    given = dict(known, **(dataset_cfg.get('metainfo') or {}))
    names, trained = given.get('classes'), meta.get('classes')
    if names and trained and list(names) != list(trained):
        raise UserError(
            f'the classes of checkpoint {checkpoint} differ from those of the config ({dataset}): '
            f'{_difference(trained, names)}; use the config that it was trained with.'
        )
    classes = trained or names
    outputs = model.decode_head.num_classes
    if classes and len(classes) != outputs:
        raise UserError(
            f'the model has {outputs} classes, but {checkpoint if trained else dataset} '
            f'has {len(classes)}; correct num_classes of the heads or the classes.'
        )
    classes = classes or [str(index) for index in range(outputs)]
    palette = meta.get('palette') or given.get('palette') or []
    if len(palette) != len(classes):
        by_name = dict(zip(known.get('classes', ()), known.get('palette', ())))
        palette = [by_name.get(name, _default_colour(index)) for index, name in enumerate(classes)]
    return classes, palette


def _difference(trained: Sequence[str], names: Sequence[str]) -> str:
    if len(trained) != len(names):
        return f'it has {len(trained)} classes, the config {len(names)}'
    index, (one, other) = next(
        (index, pair) for index, pair in enumerate(zip(trained, names)) if pair[0] != pair[1]
    )
    return f'its class {index} is {one!r}, that of the config {other!r}'


def _default_colour(index: int) -> list[int]:
    """Return a colour for a class without one: the bits of its index spread over the channels."""
    return [
        sum((index >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)
    ]
