"""Data sets that report broken files by name.

Otherwise a missing label or truncated image surfaces as a decoder error without a file name from a
worker process, and a label value outside the classes as a failed assertion on the GPU.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.dataset import BaseDataset, Compose
from mmseg.registry import DATASETS, TRANSFORMS

from mmseg_encnet.datasets.current_file import reading
from mmseg_encnet.datasets.image_sizes import MAX_PIXELS, check_stored_size, open_image, stored_size
from mmseg_encnet.datasets.loading import (
    IMAGE_SUFFIXES,
    check_decoded,
    check_loader,
    check_regular,
    check_regular_files,
    image_backend,
)
from mmseg_encnet.datasets.orientation import (
    check_orientation,
    loaded_size,
    quarter_turn,
    says_orientation,
)
from mmseg_encnet.datasets.transforms.channelwise_resize import check_channels
from mmseg_encnet.datasets.transforms.resize_and_crop import combined
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import UserError, first_line, listed, printable

_RAISE_LIMIT = 'set metainfo.max_pixels of the data set'
# Images whose values all fit in 14 bits look nearly black in 8.
_DARK = 2**14
_CONVERTERS = {
    'ADE20KDataset': 'ade20k',
    'COCOStuffDataset': 'cocostuff164k',
    'CamVidDataset': 'camvid',
    'CityscapesDataset': 'cityscapes',
    'ClothingDataset': 'clothing',
    'MSRC21Dataset': 'msrc21',
    'PascalContextDataset': 'pascal_context',
    'PascalContextDataset59': 'pascal_context',
    'PascalVOCDataset': 'voc12aug',
}


class CheckedPipeline(Compose):
    """The pipeline of a data set, with a check of every label as it is loaded.

    Files whose headers claim more than ``metainfo['max_pixels']`` pixels (default:
    :data:`~mmseg_encnet.datasets.image_sizes.MAX_PIXELS`) are refused before they are decoded.

    Later steps such as padding and cropping would hide that a label differs in size from its image
    or contains values outside the classes. If the image is not loaded before its label, the size is
    that in the header of its file.

    Args:
        dataset: Data set with ``metainfo['classes']`` and ``ignore_index``.
        transforms: Some of its transforms; by default all.
        orientation_stated: Whether its config says how images with an EXIF orientation are loaded.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        transforms: Sequence[Callable] | None = None,
        orientation_stated: bool = True,
    ) -> None:
        super().__init__(dataset.pipeline.transforms if transforms is None else transforms)
        # What runs: `transforms` stay those of the config, which other code looks up by type.
        self.steps = combined(self.transforms)
        self.loaders = dataset.pipeline.transforms
        self.orientation_stated = orientation_stated
        self.dataset_name = type(dataset).__name__
        self.num_classes = len(dataset.metainfo.get('classes') or ())
        self.ignore_index = getattr(dataset, 'ignore_index', 255)
        self.max_pixels = dataset.metainfo.get('max_pixels', MAX_PIXELS)
        self.image_backend = image_backend(self.loaders)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Apply the transforms.

        Raises:
            UserError: The sample cannot be used; the message names the file and the reason.
        """
        files = {key: data[key] for key in ('img_path', 'seg_map_path') if key in data}
        for path in files.values():
            check_regular(path)
        with reading(str(files.get('img_path', ''))):
            self._check_stored_sizes(files)
            return self._apply(data, files)

    def _apply(self, data: dict[str, Any], files: dict[str, str]) -> dict[str, Any] | None:
        loaded = False
        for transform in self.steps:
            try:
                check_channels(transform, data)
                data = transform(data)
            except UserError:
                raise
            except Exception as error:
                raise UserError(what_is_broken(files, error)) from error
            if data is None:
                return None
            if transform is self.steps[0] and 'img' in data and 'img_path' in files:
                check_decoded(files['img_path'], data['img'], self.max_pixels, _RAISE_LIMIT)
                warning = too_dark(files['img_path'], data['img'])
                if warning:
                    warnings.warn(warning, stacklevel=2)
            if not loaded and 'gt_seg_map' in data:
                loaded = True
                data['gt_seg_map'] = _unsqueezed(data['gt_seg_map'], files)
                shape = data.get('ori_shape')
                if 'img' not in data:
                    shape = loaded_size(files.get('img_path'), self.loaders)
                self._check_label(data['gt_seg_map'], shape, files)
        samples = data.get('data_samples') if isinstance(data, Mapping) else None
        # Test-time augmentation loads the label inside its own transform, once per view and without
        # resizing it.
        if isinstance(samples, list) and samples and 'gt_sem_seg' in samples[0]:
            label = samples[0].gt_sem_seg.data.squeeze(0).numpy()
            self._check_label(label, samples[0].metainfo.get('ori_shape'), files)
        return data

    def _check_stored_sizes(self, files: Mapping[str, str]) -> None:
        for key, kind in (('img_path', 'image'), ('seg_map_path', 'label')):
            # Reading from another place would transfer the file twice.
            if files.get(key) and Path(files[key]).is_file():
                backend = self.image_backend if kind == 'image' else None
                check_stored_size(files[key], self.max_pixels, kind, backend, _RAISE_LIMIT)

    def _check_label(
        self, label: np.ndarray, image_shape: tuple[int, ...] | None, files: dict[str, str]
    ) -> None:
        path = files.get('seg_map_path')
        if label.ndim != 2:
            raise UserError(
                f'label file {path} has shape {label.shape}, expected one channel of class '
                'indices; convert it.'
            )
        if image_shape is not None and label.shape != tuple(image_shape[:2]):
            raise UserError(
                f'label file {path} has size {_size(label.shape)} (height x width), expected '
                f'{_size(image_shape[:2])} as its image {files.get("img_path")}; '
                f'{quarter_turn(files.get("img_path"))}'
            )
        if not self.orientation_stated:
            check_orientation(files.get('img_path'))
        if not self.num_classes:
            return
        beyond = _value_beyond_a_byte(path)
        if beyond is not None:
            raise UserError(
                f'label file {path} contains the value {beyond}, but the toolbox reads labels as '
                '8 bits; store it with 8 bits per pixel.'
            )
        outside = (label < 0) | (label >= self.num_classes)
        values = np.unique(label[outside & (label != self.ignore_index)]).tolist()
        if values:
            shown = ', '.join(map(str, values[:5])) + ', ...' * (len(values) > 5)
            raise UserError(
                f'label file {path} contains the value{"s" * (len(values) > 1)} {shown}, expected '
                f'0 to {self.num_classes - 1} (the classes of {self.dataset_name}) or '
                f'{self.ignore_index} for ignored pixels; '
                'correct the label or the classes of the data set.'
            )


def build_checked_dataset(cfg: dict[str, Any]) -> Any:
    """Build a data set from its config, with the checks of :class:`CheckedPipeline`.

    Raises:
        UserError: The folder of the data set is missing or contains no images, its class names or
            other arguments are invalid, or a package that decodes its images is not installed.
    """
    for part in leaf_configs(cfg):
        check_loader(part.get('pipeline') or ())
        root = part.get('data_root')
        if root and not fileio.exists(root):
            converter = _converter(part)
            prepare = 'prepare the data set there' + f' with {converter}' * bool(converter)
            raise UserError(
                f'data root {root!r} of {part["type"]} does not exist; {prepare}, or set '
                '--cfg-options data_root=FOLDER.'
            )
    try:
        dataset = DATASETS.build(cfg)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    except UserError:
        raise
    except ValueError as error:
        # Of the class names or the palette.
        reason = _which_classes_are_unknown(cfg) or (
            f'data set {_place(cfg)} cannot be built: {first_line(error)}; correct its metainfo or '
            'its other arguments.'
        )
        raise UserError(reason) from error
    except (AssertionError, FileNotFoundError) as error:
        _check_transforms(cfg)
        reason = ' '.join(str(error).split()) or 'its image folder or list of images is missing'
        raise UserError(
            f'data set {_place(cfg)} cannot be opened: {reason}; check data_root, '
            'data_prefix and ann_file.'
        ) from error
    for leaf, part in zip(leaf_datasets(dataset), leaf_configs(cfg)):
        if len(leaf) == 0:
            raise UserError(
                f'data set {_place(cfg)} contains no images ending in '
                f'{getattr(leaf, "img_suffix", "the expected suffix")!r} under '
                f'{leaf.data_prefix.get("img_path")}; check data_root and data_prefix.'
            )
        _check_suffixes(leaf)
        stated = says_orientation(part.get('pipeline'))
        leaf.pipeline = CheckedPipeline(leaf, orientation_stated=stated)
    return dataset


def _which_classes_are_unknown(cfg: dict[str, Any]) -> str | None:
    """Return the sentence for class names that a data set class does not have."""

    def quoted(names: Sequence[str]) -> str:
        return listed(list(map(repr, names)), 5)

    for part in leaf_configs(cfg):
        kind = DATASETS.get(part['type']) if isinstance(part['type'], str) else part['type']
        known = kind.METAINFO.get('classes') or ()
        given = (part.get('metainfo') or {}).get('classes') or ()
        unknown = [name for name in given if name not in known]
        if known and unknown:
            return (
                f'got metainfo.classes of {part["type"]} with {quoted(unknown)}, expected some of '
                f"its classes ({quoted(known)}); use type='BaseSegDataset' for labels of other "
                'classes.'
            )
    return None


def _converter(cfg: dict[str, Any]) -> str | None:
    """Return the command that prepares a data set, or None if no tool does."""
    name = _CONVERTERS.get(str(cfg['type']).rpartition('.')[2])
    # Images of COCO with the classes of Pascal VOC.
    if name == 'voc12aug' and 'coco' in Path(cfg['data_root']).name.lower():
        name = 'coco21'
    return f'python tools/dataset_converters/{name}.py' if name else None


def _check_suffixes(dataset: BaseDataset) -> None:
    """Refuse images of another suffix and pipes, which a data set without a list leaves out."""
    images = dataset.data_prefix.get('img_path')
    labels = dataset.data_prefix.get('seg_map_path')
    ending = getattr(dataset, 'img_suffix', None)
    listed = dataset.ann_file and Path(dataset.ann_file).is_file()
    if not images or not ending or listed or not Path(images).is_dir():
        return
    suffix = Path(f'name{ending}').suffix
    check_regular_files(images, (*IMAGE_SUFFIXES, suffix.lower()))
    others: dict[str, int] = {}
    for path in Path(images).rglob('*'):
        if path.suffix == suffix or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if labels:
            name = path.relative_to(images).with_suffix(getattr(dataset, 'seg_map_suffix', '.png'))
            label = Path(labels, name)
            if label == path or not label.is_file():
                continue
        others[path.suffix] = others.get(path.suffix, 0) + 1
    if others:
        found = ' and '.join(f'{count} ending in {key}' for key, count in sorted(others.items()))
        raise UserError(
            f'image folder {images} contains images with other suffixes than {suffix}, which '
            f'{type(dataset).__name__} would leave out ({found}); convert or rename them, or use '
            'a data set per suffix with img_suffix and ConcatDataset.'
        )


def what_is_broken(files: dict[str, str], error: Exception) -> str:
    """Return the error message for a sample that a transform could not process.

    Args:
        files: The sample's ``img_path`` and, if it has a label, ``seg_map_path``.
        error: Exception of the transform.
    """
    sizes = []
    for key, kind in (('img_path', 'image'), ('seg_map_path', 'label')):
        if key not in files:
            continue
        path = files[key]
        try:
            if not fileio.exists(path):
                return f'{kind} file {path} is missing; restore it or remove it from the list.'
            size = _size_of(path, kind)
            sizes += [_size(size)] if size else []
            decoded = size is not None
        except Exception:
            decoded = False
        if not decoded:
            if kind == 'image' and path.lower().endswith(('.tif', '.tiff')):
                if 'failed to load image' not in str(error):
                    # The error is tifffile's, which decodes more formats than OpenCV.
                    continue
                return (
                    f'image file {path} cannot be decoded; replace it or, if it has 32 bits or '
                    "more than four channels, set imdecode_backend='tifffile' and "
                    "color_type='unchanged' of LoadImageFromFile."
                )
            return f'{kind} file {path} cannot be decoded as an image; replace it.'
    reason = ' '.join((str(error) or type(error).__name__).split())
    shown = f'image {files.get("img_path")}'
    if sizes:
        shown += f' of {sizes[0]} pixels (height x width)'
    return f'{shown} cannot be processed ({reason}); remove it from the list.'


def _size_of(path: str, kind: str) -> tuple[int, ...] | None:
    """Return height and width of an image or label, None if it cannot be decoded."""
    if path.endswith('.npy'):
        return np.load(path, mmap_mode='r').shape[:2]
    backend = 'pillow' if kind == 'label' else 'cv2'
    content = mmcv.imfrombytes(fileio.get(path), flag='unchanged', backend=backend)
    return None if content is None else content.shape[:2]


def too_dark(path: str, pixels: np.ndarray) -> str | None:
    """Return a warning about an image whose 16-bit values are far below the 16-bit maximum.

    Decoders drop the lower eight bits of 16-bit images, which leaves four bits of the twelve that
    many cameras and scanners store.

    Args:
        path: The image file.
        pixels: Its decoded pixels.
    """
    if pixels.dtype != np.uint8 or pixels.max() >= _DARK // 256 or not fileio.exists(path):
        return None
    values = mmcv.imfrombytes(fileio.get(path), flag='unchanged')
    # None for arrays.
    if values is None or values.dtype not in (np.int16, np.uint16) or not 0 < values.max() < _DARK:
        return None
    return printable(
        f'image {path} has 16-bit values from {values.min()} to {values.max()}, which are nearly '
        f'black in 8 bits; multiply them by {65536 // 2 ** int(values.max()).bit_length()} to '
        'use the whole range from 0 to 65535 of unsigned integers.'
    )


def _unsqueezed(label: np.ndarray, files: dict[str, str]) -> np.ndarray:
    """Return a label in the shape of its file: the toolbox drops sides of one pixel."""
    path = files.get('seg_map_path')
    if label.ndim >= 2 or path is None or not Path(path).is_file():
        return label
    size = stored_size(path)
    return label if size is None else label.reshape(size.height, size.width)


def _value_beyond_a_byte(path: str | None) -> int | float | None:
    """Return the largest value of a file with more than 8 bits per pixel, if it exceeds 255."""
    if path is None or not Path(path).is_file():
        return None
    # Opening only reads the header; the size has been checked.
    with open_image(path, sys.maxsize) as image:
        if not image.mode.startswith(('I', 'F')):
            return None
        largest = image.getextrema()[1]
    return largest if largest > 255 else None


def _size(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))


def _check_transforms(cfg: dict[str, Any]) -> None:
    """Report a transform that cannot be built, for which the toolbox has bare assertions."""
    for part in leaf_configs(cfg):
        for index, step in enumerate(part.get('pipeline', ())):
            try:
                TRANSFORMS.build(step)
            except AssertionError as error:
                options = ', '.join(f'{key}={value!r}' for key, value in step.items())
                raise UserError(
                    f'pipeline.{index} of {part["type"]} ({options}) has an invalid argument'
                    f'{": " * bool(str(error))}{" ".join(str(error).split())}; correct it in the '
                    'config or in --cfg-options.'
                ) from error


def leaf_configs(cfg: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configs of the data sets inside wrappers, in the order of `leaf_datasets`."""
    nested = cfg.get('datasets') or ([cfg['dataset']] if 'dataset' in cfg else [])
    if not nested:
        yield cfg
    for part in nested:
        yield from leaf_configs(part)


def _place(cfg: dict[str, Any]) -> str:
    first = next(leaf_configs(cfg))
    return f'{first["type"]} at {first.get("data_root") or "its data_prefix"}'
