"""What a user of an exported file has to know, stored inside the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.values import mapping
from mmseg_encnet.version import __version__

Size = tuple[int, int]

_FORMAT = 1
_MARK = 'encnet_description'
# Name of the entry in the archives of PyTorch, and its largest size in bytes.
ENTRY = 'mmseg_encnet.json'
_LARGEST = 1 << 20
_SCORES = 'output (1, classes, height, width), float32; the largest is the class of a pixel'
_ONE_SCORE = (
    'output (1, 1, height, width), float32, probability of class 1; a pixel has class 1 above {}'
)
# Smallest height and width of an image, in pixels, unless a format needs more.
SMALLEST = 32
_PRESENCE = 'output (1, classes), float32, probability that a class is present'
_GATE = 'output (1, channels), float32, factor of each channel of the features'
_FOLDED_GATE = 'folded into the classifier, not an output'


def describe(
    model: FoldedEncNet,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    *,
    size: Size | None = None,
    smallest: int = SMALLEST,
    resize: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the description of an exported model, as plain data.

    Args:
        model: The model.
        classes: Class names by index.
        palette: RGB colours by index.
        size: Height and width of the image in pixels, if the file accepts only one size.
        smallest: Smallest height and width that the file accepts otherwise.
        resize: ``scale`` and ``keep_ratio`` by which the test pipeline resizes images.
    """
    channels = model.in_channels
    threshold = model.decode_head.threshold if model.decode_head.out_channels == 1 else None
    entries: dict[str, Any] = {
        _MARK: _FORMAT,
        'mmseg_encnet': __version__,
        'network': f'EncNet on {type(model.backbone).__name__}',
        'inputs': ['image'],
        'outputs': list(model.output_names),
        'layout': 'NCHW',
        'classes': list(classes),
        'palette': [list(map(int, colour)) for colour in palette],
        'colour_order': 'RGB' if channels == 3 else 'as the image file',
        'range': [0, 255],
        'mean': model.pixel_mean.flatten().tolist(),
        'std': model.pixel_std.flatten().tolist(),
        'normalisation': 'in the graph: pass pixel values as they are, do not subtract mean',
        'sizes': dict(fixed=list(size)) if size else dict(smallest=[smallest] * 2, multiple_of=1),
        'image': f'input (1, {channels}, height, width), float32',
        'scores': _SCORES if threshold is None else _ONE_SCORE.format(threshold),
        'gate': _GATE if 'gate' in model.output_names else _FOLDED_GATE,
    }
    if 'presence' in model.output_names:
        entries['presence'] = _PRESENCE
    if threshold is not None:
        entries['threshold'] = threshold
    if resize is not None:
        entries['resize'] = dict(resize)
    return entries


def as_strings(description: Mapping[str, Any]) -> dict[str, str]:
    """Return a description for files whose metadata is text: JSON values by key."""
    return {key: json.dumps(value) for key, value in description.items()}


def from_strings(path: Path, entries: Mapping[str, str]) -> dict[str, Any]:
    """Return a description from the metadata of a file.

    Raises:
        UserError: The metadata has none.
    """
    if _MARK not in entries:
        raise UserError(
            f'{path} contains no description of an exported EncNet; export it with '
            'tools/model_converters/export.py.'
        )
    description = {}
    for key, value in entries.items():
        try:
            description[key] = parse_json(value)
        except ValueError:
            # Of another program.
            continue
    return description


def read_from_archive(path: Path) -> dict[str, Any]:
    """Return the description in a file that PyTorch wrote.

    Raises:
        UserError: It is no such file, or contains no description.
    """
    try:
        with path.open('rb') as file, ZipFile(file) as archive:
            entry = next(
                (item for item in archive.infolist() if item.filename.endswith(f'/{ENTRY}')), None
            )
            if entry is not None and entry.file_size > _LARGEST:
                raise ValueError(f'its description has more than {_LARGEST} bytes')
            content = mapping(parse_json(archive.read(entry).decode()), ENTRY) if entry else {}
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        # Damaged bytes make zipfile fail in many ways.
        raise UserError(f'{path} is damaged or not an exported model; export it again.') from error
    return from_strings(path, as_strings(content))
