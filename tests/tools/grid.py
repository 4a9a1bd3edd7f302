"""The grid of models and inputs on which every tool is tested.

A cell is either the right labels or a refusal: exit status 2 with one sentence or, where a tool
labels a whole folder, the file's name and exit status 1. ``python tests/tools/grid.py`` writes the
tables of ``docs/reference/inputs.md``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

PAGE = Path(__file__).parents[2] / 'docs' / 'reference' / 'inputs.md'
SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Model:
    """A small model.

    Attributes:
        name: Row of the table.
        num_classes: Number of classes.
        channels: Channels of its images.
        options: Config options on top of the shrunk config of the tests.
        refused: Words of the sentence by tool, where a tool refuses the model.
    """

    name: str
    num_classes: int = 5
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def _norm(norm_type: str, **arguments: Any) -> dict[str, Any]:
    norm = dict(type=norm_type, **arguments)
    return {
        'model.backbone.norm_cfg': norm,
        'model.decode_head.norm_cfg': norm,
        'model.auxiliary_head.norm_cfg': norm,
    }


def _reading(color_type: str, channels: int) -> dict[str, Any]:
    return {
        'model.backbone.in_channels': channels,
        'model.data_preprocessor.type': 'ChannelsPreProcessor',
        'model.data_preprocessor.bgr_to_rgb': False,
        'model.data_preprocessor.mean': [120.0] * channels,
        'model.data_preprocessor.std': [60.0] * channels,
        **{
            f'{split}_dataloader.dataset.pipeline.LoadImageFromFile.color_type': color_type
            for split in SPLITS
        },
        'published_tta_pipeline.LoadImageFromFile.color_type': color_type,
        'tta_pipeline.LoadImageFromFile.color_type': color_type,
    }


_ONE_SCORE = {
    f'model.{head}.{key}': value
    for head in ('decode_head', 'auxiliary_head')
    for key, value in {
        'out_channels': 1,
        'threshold': 0.5,
        'loss_decode.use_sigmoid': True,
    }.items()
}
MODELS = [
    Model('one score for two classes', num_classes=2, options=_ONE_SCORE),
    Model('two classes', num_classes=2),
    Model('21 classes', num_classes=21),
    Model('150 classes', num_classes=150),
    Model('grey images', channels=1, options=_reading('grayscale', 1)),
    Model('four-channel images', channels=4, options=_reading('unchanged', 4)),
    Model('without SE branch', options={'model.decode_head.use_se_loss': False}),
    Model('BN', options=_norm('BN')),
    Model('GN', options=_norm('GN', num_groups=4)),
    Model('IN', options=_norm('IN')),
]


@dataclass(frozen=True)
class Input:
    """An image file.

    Attributes:
        name: Row of the table.
        suffix: Suffix of the file.
        draw: Returns its content from the pixels ``(H, W, 3)`` RGB uint8 of a photograph.
        size: Height and width in pixels.
        refused: Word of the sentence that names the file, or None if it is labelled.
        exact: Whether the stored pixels are the drawn ones, to the bit.
        ambiguous: Word of the sentence if a data set cannot use the image, because it is unknown
            whether its label is rotated as well; None if it can.
    """

    name: str
    suffix: str
    draw: Callable[[np.ndarray], bytes]
    size: tuple[int, int] = (56, 72)
    refused: str | None = None
    exact: bool = True
    ambiguous: str | None = None

    @property
    def file(self) -> str:
        """File name."""
        return self.name.replace(' ', '-').replace(',', '') + self.suffix

    def seen(self, content: bytes) -> np.ndarray:
        """Return the pixels ``(H, W, 3)`` RGB uint8 that a person sees in a viewer."""
        image = Image.open(io.BytesIO(content))
        if image.mode.startswith('I'):
            grey = np.asarray(image).astype(np.float64) / 257
            return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)
        if image.mode == 'RGBA':
            # Transparency is ignored.
            return np.asarray(image)[..., :3]
        return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))


def _file(file_format: str, mode: str, **options: Any) -> Callable[[np.ndarray], bytes]:
    def draw(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        if mode == 'RGBA':
            alpha = np.arange(pixels[..., 0].size).reshape(pixels.shape[:2]) % 256
            image = Image.fromarray(np.dstack([pixels, alpha.astype(np.uint8)]))
        elif mode == 'I;16':
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return draw


def _turned(orientation: int) -> Callable[[np.ndarray], bytes]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file('JPEG', 'RGB', quality=100, subsampling=0, exif=exif)


def _three_times_16_bits(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


INPUTS = [
    Input('RGB', '.png', _file('PNG', 'RGB')),
    Input('JPEG', '.jpg', _file('JPEG', 'RGB', quality=95), exact=False),
    Input('palette', '.png', _file('PNG', 'P')),
    Input('1-bit', '.png', _file('PNG', '1')),
    Input('grey', '.png', _file('PNG', 'L')),
    Input('RGBA', '.png', _file('PNG', 'RGBA')),
    Input('CMYK', '.jpg', _file('JPEG', 'CMYK', quality=100), exact=False),
    Input('16-bit grey', '.png', _file('PNG', 'I;16')),
    Input('16-bit RGB', '.png', _three_times_16_bits),
    Input('TIFF', '.tif', _file('TIFF', 'RGB')),
    Input('rotated by 90 degrees in EXIF', '.jpg', _turned(6), exact=False),
    Input(
        'rotated by 180 degrees in EXIF',
        '.jpg',
        _turned(3),
        exact=False,
        ambiguous='EXIF orientation 3',
    ),
    Input('1x1', '.png', _file('PNG', 'RGB'), size=(1, 1)),
    Input('8000x200', '.png', _file('PNG', 'RGB'), size=(200, 8000)),
    Input('empty', '.png', lambda pixels: b'', refused='decoded'),
    Input('broken', '.png', lambda pixels: _file('PNG', 'RGB')(pixels)[:200], refused='decoded'),
    Input('text', '.jpg', lambda pixels: b'no image', refused='decoded'),
]


def photograph(size: tuple[int, int]) -> np.ndarray:
    """Return smooth pixels ``(H, W, 3)`` RGB uint8 with edges, the same for the same size."""
    height, width = size
    y, x = np.mgrid[:height, :width] / np.maximum([[[height]], [[width]]], 1)
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.where(x > y, 0.8, -0.8)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@dataclass(frozen=True)
class Label:
    """A label file of a data set with two classes.

    Attributes:
        name: Row of the table.
        draw: Returns its content from class indices ``(H, W)`` uint8.
        refused: Word of the sentence that names the file, or None if it is used.
    """

    name: str
    draw: Callable[[np.ndarray], bytes]
    refused: str | None = None


def _png(change: Callable[[np.ndarray], np.ndarray], mode: str | None = None):
    def draw(label: np.ndarray) -> bytes:
        image = Image.fromarray(change(label))
        buffer = io.BytesIO()
        (image.convert(mode) if mode else image).save(buffer, 'PNG')
        return buffer.getvalue()

    return draw


def _palette(label: np.ndarray) -> bytes:
    image = Image.fromarray(label, 'P')
    image.putpalette([200, 0, 0, 0, 0, 200])
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


LABELS = [
    Label('class indices', _png(lambda label: label)),
    Label('palette', _palette),
    Label('1-bit', _png(lambda label: label.astype(bool))),
    Label('16-bit', _png(lambda label: label.astype(np.uint16))),
    Label('RGB', _png(lambda label: label * 255, 'RGB'), 'one channel'),
    Label('RGBA', _png(lambda label: label * 255, 'RGBA'), 'one channel'),
    Label('grey and alpha', _png(lambda label: label, 'LA'), 'one channel'),
    Label('a value beyond the classes', _png(lambda label: label * 7), 'value 7'),
    Label('another size', _png(lambda label: label[:-1]), 'size'),
    Label('empty', lambda label: b'', 'decoded'),
    Label('broken', lambda label: _png(lambda same: same)(label)[:60], 'decoded'),
    Label('text', lambda label: b'no image', 'decoded'),
]


def page() -> str:
    """Return the documentation page of the grid, Markdown."""
    return (
        '# What the tools accept\n\n'
        'This page lists the models and files with which every tool is tested. Each cell of the\n'
        'tables is a test in `tests/tools/test_grid.py`; `python tests/tools/grid.py` generates\n'
        'the page.\n\n'
        '## Models\n\n'
        'Training, testing (`--tta`, `--published-tta`, `--out`, `--show-dir`), prediction, the\n'
        'demo page, the report, ONNX export and the inspection of data sets accept these models, '
        'unless the\nlast column names a tool.\n\n'
        + _table(
            ['model', 'classes', 'channels', 'refused by'],
            [
                [
                    model.name,
                    str(model.num_classes),
                    str(model.channels),
                    ', '.join(f'`{tool}`: {words}' for tool, words in model.refused.items()) or '-',
                ]
                for model in MODELS
            ],
        )
        + '\n## Images\n\n'
        'Images are labelled as an image viewer shows them; transparency is ignored, and 16 bits\n'
        'are reduced to 8. `infer.py` skips files that it cannot use, lists them and exits with\n'
        'status 1; the other tools name the file and exit with status 2.\n\n'
        + _table(
            ['image', 'models for 3 or 1 channels', 'models for 4 channels', 'in a data set'],
            [
                [
                    entry.name,
                    'refused' if entry.refused else 'labelled',
                    'labelled' if entry.name == 'RGBA' else 'refused',
                    'refused' if entry.refused or entry.ambiguous else 'used',
                ]
                for entry in INPUTS
            ],
        )
        + '\n## Labels of a data set\n\n'
        'The error for a refused label names the file.\n\n'
        + _table(
            ['label', 'training, testing, inspection'],
            [[entry.name, 'refused' if entry.refused else 'used'] for entry in LABELS],
        )
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
