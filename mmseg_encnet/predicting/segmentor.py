"""A model from a config and a checkpoint, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_encnet.checkpoints.fit import check_fits, plain_state_dict
from mmseg_encnet.datasets.checked import what_is_broken
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ContextEncoderDecoder


@dataclass(frozen=True)
class Segmentor:
    """A model ready to predict.

    Attributes:
        model: The segmentor in evaluation mode.
        pipeline: Test transforms from an image path to the network's input.
        classes: Class names by index.
        palette: RGB colours by index.
    """

    model: BaseSegmentor
    pipeline: Compose
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]

    @torch.no_grad()
    def predict(self, image: str | Path | np.ndarray, context_maps: bool = False) -> SegDataSample:
        """Predict one image.

        Args:
            image: A file, or any path the toolbox's file backends open; or BGR pixels
                ``(H, W, 3)`` uint8.
            context_maps: Whether the prediction is to carry the maps of codewords and channels,
                where the model is a ``ContextEncoderDecoder``.

        Raises:
            UserError: If the file is not an image.
        """
        if isinstance(image, np.ndarray):
            packed = dict(
                img=image, img_path='', img_shape=image.shape[:2], ori_shape=image.shape[:2]
            )
            for transform in self.pipeline.transforms:
                if not isinstance(transform, LoadImageFromFile):
                    packed = transform(packed)
        else:
            try:
                packed = self.pipeline(dict(img_path=str(image)))
            except Exception as error:
                raise UserError(what_is_broken(dict(img_path=str(image)), error)) from error
        if context_maps:
            packed['data_samples'].set_metainfo(dict(context_maps=True))
        batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        return self.model.test_step(batch)[0]


def load_segmentor(cfg: Config, checkpoint: str, device: str | None = None) -> Segmentor:
    """Build a config's model and load a checkpoint into it.

    Args:
        cfg: A config with ``model`` and ``test_dataloader``.
        checkpoint: Checkpoint file.
        device: ``cpu``, ``cuda:0`` and the like; a GPU if there is one, if not given.

    Raises:
        UserError: If the checkpoint cannot be read or does not fit, or was trained on other
            classes than the config's.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if not Path(checkpoint).is_file():
        raise UserError(f'checkpoint {checkpoint} does not exist; check the path.')
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    model = MODELS.build(cfg.model)
    try:
        state_dict = plain_state_dict(content)
        _check_se_branch(model, state_dict)
        check_fits(model, state_dict, whole=True)
    except UserError as error:
        raise UserError(f'checkpoint {checkpoint} does not fit: {error}') from error
    model.load_state_dict(state_dict, strict=False)

    dataset_cfg = _leaf(cfg.test_dataloader.dataset)
    meta = content.get('meta', {}).get('dataset_meta') or {}
    classes, palette = _classes(dataset_cfg, meta, checkpoint, model)
    pipeline = Compose([step for step in dataset_cfg.pipeline if step.type != 'LoadAnnotations'])
    return Segmentor(model.to(device).eval(), pipeline, classes, palette)


def suppress_absent_classes(cfg: Config, threshold: float) -> None:
    """Have a config's model label no pixel with a class whose presence is below a threshold.

    The model itself refuses a threshold that is no probability, and a head without SE branch.

    Raises:
        UserError: If the config's segmentor does not know the presence of classes.
    """
    segmentor = MODELS.get(cfg.model.type)
    if not (isinstance(segmentor, type) and issubclass(segmentor, ContextEncoderDecoder)):
        raise UserError(
            f"presence threshold {threshold} came, but the config's {cfg.model.type} "
            'does not predict which classes are present; take a config with '
            'ContextEncoderDecoder, or leave the threshold out.'
        )
    cfg.model.setdefault('test_cfg', {})
    cfg.model.test_cfg.presence_threshold = threshold


def _check_se_branch(model: BaseSegmentor, state_dict: Mapping[str, Any]) -> None:
    key = 'decode_head.se_layer.weight'
    if (
        key in model.state_dict()
        and key not in state_dict
        and any(name.startswith('decode_head.') for name in state_dict)
    ):
        raise UserError(
            f"it has no SE branch ({key}), which the config's model predicts the "
            'presence of classes with; take a checkpoint of this config, or predict '
            'without presence: --cfg-options model.decode_head.use_se_loss=False'
        )


def _leaf(dataset_cfg: Config) -> Config:
    """The data set inside the toolbox's wrappers."""
    while 'pipeline' not in dataset_cfg:
        dataset_cfg = dataset_cfg.get('dataset') or dataset_cfg['datasets'][0]
    return dataset_cfg


def _classes(
    dataset_cfg: Config, meta: Mapping[str, Any], checkpoint: str, model: BaseSegmentor
) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Names and colours of the classes, from the checkpoint or else the config."""
    dataset = dataset_cfg.type if isinstance(dataset_cfg.type, str) else dataset_cfg.type.__name__
    known = getattr(DATASETS.get(dataset), 'METAINFO', {})
    given = dict(known, **(dataset_cfg.get('metainfo') or {}))
    names, trained = given.get('classes'), meta.get('classes')
    if names and trained and list(names) != list(trained):
        raise UserError(
            f'checkpoint {checkpoint} was trained on {_difference(trained, names)} in '
            f'the config ({dataset}); take the config that it was trained with.'
        )
    classes = trained or names
    outputs = model.decode_head.num_classes
    if classes and len(classes) != outputs:
        raise UserError(
            f'the model has {outputs} classes, {checkpoint if trained else dataset} '
            f'names {len(classes)}; correct num_classes of the heads or the classes.'
        )
    classes = classes or [str(index) for index in range(outputs)]
    palette = meta.get('palette') or given.get('palette') or []
    if len(palette) != len(classes):
        by_name = dict(zip(known.get('classes', ()), known.get('palette', ())))
        palette = [by_name.get(name, _some_colour(index)) for index, name in enumerate(classes)]
    return classes, palette


def _difference(trained: Sequence[str], names: Sequence[str]) -> str:
    if len(trained) != len(names):
        return f'{len(trained)} classes, of which there are {len(names)}'
    index, (one, other) = next(
        (index, pair) for index, pair in enumerate(zip(trained, names)) if pair[0] != pair[1]
    )
    return f'other classes: class {index} is {one!r} there and {other!r}'


def _some_colour(index: int) -> list[int]:
    """A colour for a class without one: the bits of its index, spread over the channels."""
    return [
        sum((index >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)
    ]
