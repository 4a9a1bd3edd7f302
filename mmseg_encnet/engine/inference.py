"""A trained model and the photographs a person wants labelled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from ..errors import UserError
from .checkpoint_check import check_fits, plain_state_dict

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


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
    def predict(self, path: str | Path) -> SegDataSample:
        """Predict one image file, or any path the toolbox's file backends open.

        Raises:
            UserError: If the file is not an image.
        """
        try:
            packed = self.pipeline(dict(img_path=str(path)))
        except Exception as error:
            raise UserError(f'image file {path} cannot be decoded: it is broken, missing or no '
                            'image; replace it.') from error
        batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        return self.model.test_step(batch)[0]


def load_segmentor(cfg: Config, checkpoint: str, device: str | None = None) -> Segmentor:
    """Build a config's model and load a checkpoint into it.

    Args:
        cfg: A config with ``model`` and ``test_dataloader``.
        checkpoint: Checkpoint file.
        device: ``cpu``, ``cuda:0`` and the like; a GPU if there is one, if not given.

    Raises:
        UserError: If the checkpoint cannot be read or does not fit.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if not Path(checkpoint).is_file():
        raise UserError(f'checkpoint {checkpoint} does not exist; check the path.')
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'checkpoint {checkpoint} cannot be read as plain weights: it is '
                        'truncated, no checkpoint, or could run code.') from error
    model = MODELS.build(cfg.model)
    try:
        state_dict = plain_state_dict(content)
        check_fits(model, state_dict, whole=True)
    except UserError as error:
        raise UserError(f'checkpoint {checkpoint} does not fit: {error}') from error
    model.load_state_dict(state_dict, strict=False)

    dataset_cfg = cfg.test_dataloader.dataset
    meta = content.get('meta', {}).get('dataset_meta') or DATASETS.get(dataset_cfg.type).METAINFO
    pipeline = Compose([step for step in dataset_cfg.pipeline if step.type != 'LoadAnnotations'])
    return Segmentor(model.to(device).eval(), pipeline, meta['classes'], meta['palette'])


def find_images(inputs: Iterable[str | Path]) -> list[tuple[Path, Path]]:
    """List the images among files and folders, each with the relative path of its output.

    Args:
        inputs: Image files, and folders that are searched with all below them.

    Raises:
        UserError: If an input does not exist, holds no image, or two images would be written to
            the same place.
    """
    images: dict[Path, Path] = {}
    for entry in map(Path, inputs):
        if entry.is_dir():
            found = sorted(path for path in entry.rglob('*')
                           if path.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise UserError(f'folder {entry} holds no images; expected files that end in '
                                f'{", ".join(IMAGE_SUFFIXES)}.')
            pairs = [(path, path.relative_to(entry)) for path in found]
        elif entry.is_file():
            pairs = [(entry, Path(entry.name))]
        else:
            raise UserError(f'input {entry} does not exist; give an image or a folder of images.')
        for path, relative in pairs:
            target = relative.with_suffix('.png')
            if target in images:
                raise UserError(f'{images[target]} and {path} would both be written to {target}; '
                                'predict them into separate folders.')
            images[target] = path
    return [(path, target) for target, path in images.items()]


def write_predictions(segmentor: Segmentor, images: Iterable[tuple[Path, Path]],
                      out_dir: Path) -> Iterator[UserError | None]:
    """Predict images one by one, writing each as an indexed PNG in the classes' colours.

    The pixel values of the PNG are class indices; viewers show the palette. A palette has 256
    entries: with more classes the PNG is a 16-bit grey one.

    Yields:
        After each image None, or the error of an image that could not be read.
    """
    indexed = len(segmentor.classes) <= 256
    palette = np.asarray(segmentor.palette, dtype=np.uint8)
    for path, relative in images:
        try:
            sample = segmentor.predict(path)
        except UserError as error:
            yield error
            continue
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        picture = Image.fromarray(labels.astype(np.uint8 if indexed else np.uint16))
        if indexed:
            picture.putpalette(palette.tobytes())
        target = out_dir / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target)
        yield None
