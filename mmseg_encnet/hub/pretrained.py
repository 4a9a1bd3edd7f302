"""Folders with a trained network: config, class names, weights and model card.

A folder contains ``config.json``, ``model.safetensors`` and ``README.md``, all of them plain data,
and is what a repository of the Hugging Face Hub contains.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.models import BaseSegmentor
from torch import nn

from mmseg_encnet.checkpoints.fit import check_finite
from mmseg_encnet.checkpoints.tensor_files import write_tensor_checkpoint
from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError, about, first_line
from mmseg_encnet.hub.model_card import Card, describe_network, render
from mmseg_encnet.hub.plain_config import check_plain, to_plain, tuples, with_tuples
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.values import brief
from mmseg_encnet.version import __version__

CONFIG, WEIGHTS, CARD = 'config.json', 'model.safetensors', 'README.md'
_FORMAT = 1
_LIBRARY = 'mmsegmentation-encnet'
_LARGEST_CONFIG = 10_000_000
_ENTRIES = ('library_name', 'format', 'classes', 'palette', 'weights', 'config', 'tuples')


@dataclass(frozen=True)
class PretrainedFolder:
    """A checked folder.

    Attributes:
        cfg: Config with ``model`` and ``test_dataloader``.
        weights: File of the weights.
    """

    cfg: Config
    weights: Path


def save_pretrained(
    model: BaseSegmentor, folder: str | Path, card: Card | None = None
) -> list[Path]:
    """Write a trained network as config, weights and model card.

    Args:
        model: Segmentor with ``cfg`` and ``dataset_meta``, as :func:`mmseg_encnet.get_encnet`, the
            toolbox's ``init_model`` and :func:`mmseg_encnet.predicting.load_segmentor` return.
        folder: Folder to write; other files in it are left alone.
        card: Model card. By default a short one is written, unless the folder has one.

    Returns:
        The written files.

    Raises:
        UserError: The model lacks its config or class names, its weights are not finite, or its
            config contains something other than plain data.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f'cannot write to {folder}, which is a file; choose a folder.')
    cfg, meta = getattr(model, 'cfg', None), getattr(model, 'dataset_meta', None) or {}
    if cfg is None or not meta.get('classes'):
        raise UserError(
            'the model has no cfg or no dataset_meta; save one that get_encnet, init_model or '
            'load_segmentor returned.'
        )
    if isinstance(model.decode_head, nn.ModuleList):
        raise UserError(
            'the model has a cascade of decode heads, which cannot be saved; save a model with one.'
        )
    classes, palette = list(meta['classes']), [list(map(int, c)) for c in meta.get('palette') or ()]
    with about('the model'):
        _check_classes(classes, palette, model.decode_head.num_classes)
        check_finite(model.state_dict(), dict(model.named_buffers()))
    cfg = copy.deepcopy(cfg)
    # A caller may have changed it since the model was built.
    cfg.model.test_cfg = copy.deepcopy(model.test_cfg)
    with about('the model cannot be saved:'):
        plain = to_plain(cfg)
        _pipeline(plain)
    weights = folder / WEIGHTS
    write_tensor_checkpoint(
        weights,
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=classes, palette=palette)),
        ),
    )
    content = dict(
        library_name=_LIBRARY,
        format=_FORMAT,
        mmseg_encnet=__version__,
        classes=classes,
        palette=palette,
        weights=dict(file=WEIGHTS, size=weights.stat().st_size, sha256=_sha256(weights)),
        config=plain,
        tuples=tuples(plain),
    )
    write_whole(folder / CONFIG, json.dumps(content, indent=2, allow_nan=False).encode())
    written = [folder / CONFIG, weights]
    if card is None and not (folder / CARD).exists():
        card = Card(name=folder.name, sections=describe_network(model, classes))
    return [*written, *(write_card(folder, card) if card is not None else ())]


def write_card(folder: Path, card: Card) -> list[Path]:
    """Write a model card and its figures into a folder and return the files."""
    for name, figure in card.figures.items():
        write_whole(folder / name, figure)
    write_whole(folder / CARD, render(card).encode())
    return [folder / CARD, *(folder / name for name in card.figures)]


def read_folder(folder: Path, name: str | None = None) -> PretrainedFolder:
    """Read and check a folder; the weights are checked, but not loaded.

    Args:
        folder: The folder.
        name: Name of the folder or repository for messages.

    Raises:
        UserError: A file is missing, has another size or checksum than the config says, is not of
            the documented format, or the config contains more than plain data.
    """
    name = name or str(folder)
    content = _read_config(folder / CONFIG, name)
    classes, palette, weights = (content[key] for key in ('classes', 'palette', 'weights'))
    config = content['config']
    with about(f'{CONFIG} of {name} cannot be used:'):
        if not isinstance(config, dict) or not isinstance(config.get('model'), dict):
            raise UserError('its config has no model; save it with save_pretrained.')
        check_plain(config)
        restored = with_tuples(config, _checked_tuples(content['tuples']))
        pipeline = _pipeline(restored)
        head = config['model'].get('decode_head')
        num_classes = head.get('num_classes') if isinstance(head, dict) else None
        _check_classes(classes, palette, num_classes)
        _check_weights_entry(weights)
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError(f'{name} has no {WEIGHTS}; save or download it again.')
    size = file.stat().st_size
    if size != weights['size']:
        raise UserError(
            f'{WEIGHTS} of {name} has {size} bytes, expected {brief(weights["size"])}; save or '
            'download it again.'
        )
    if _sha256(file) != weights['sha256']:
        raise UserError(
            f'{WEIGHTS} of {name} does not match the checksum in {CONFIG}; save or download it '
            'again.'
        )
    cfg = Config(restored)
    cfg.default_scope = 'mmseg'
    # Only the pipeline of the data set is used; the names are those of the folder.
    cfg.test_dataloader.dataset = dict(
        type='BaseSegDataset', metainfo=dict(classes=classes, palette=palette), pipeline=pipeline
    )
    return PretrainedFolder(cfg, file)


def _read_config(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f'{name} has no {CONFIG}; name a folder that save_pretrained wrote.')
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError(f'it has more than {_LARGEST_CONFIG} bytes')
        content = parse_json(path.read_text('utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(
            f'{CONFIG} of {name} cannot be read as JSON ({first_line(error)}); save or download it '
            'again.'
        ) from error
    missing = [key for key in _ENTRIES if not isinstance(content, dict) or key not in content]
    if missing or content['library_name'] != _LIBRARY:
        what = f'it lacks {missing[0]}' if missing else f'it is of {brief(content["library_name"])}'
        raise UserError(
            f'{CONFIG} of {name} is not one of {_LIBRARY} ({what}); name a folder that '
            'save_pretrained wrote.'
        )
    if content['format'] != _FORMAT:
        raise UserError(
            f'{CONFIG} of {name} has format {brief(content["format"])}, expected {_FORMAT}; '
            f'install the version of {_LIBRARY} that wrote it '
            f'({brief(content.get("mmseg_encnet"))}).'
        )
    return content


def _checked_tuples(paths: Any) -> list[str]:
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise UserError('its tuples are not a list of paths; save it with save_pretrained.')
    return paths


def _pipeline(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of the test pipeline, inside the toolbox's wrappers of data sets."""
    node: Any = config.get('test_dataloader')
    while isinstance(node, Mapping) and not isinstance(node.get('pipeline'), (list, tuple)):
        node = node.get('dataset') or next(iter(node.get('datasets') or ()), None)
    if not isinstance(node, Mapping):
        raise UserError(
            'its config has no pipeline for test images; set test_dataloader.dataset.pipeline.'
        )
    return list(node['pipeline'])


def _check_classes(classes: Any, palette: Any, num_classes: Any) -> None:
    names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not names or len(set(classes)) < len(classes):
        raise UserError('its classes are not a list of different names; correct them.')
    if not isinstance(palette, list) or not all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(value) is int and 0 <= value < 256 for value in colour)
        for colour in palette
    ):
        raise UserError(
            'its palette is not a list of RGB colours with values from 0 to 255; correct it.'
        )
    if num_classes != len(classes):
        raise UserError(
            f'it names {len(classes)} classes, but its model has {brief(num_classes)}; correct the '
            'names.'
        )
    if len(palette) not in (0, len(classes)):
        raise UserError(
            f'its palette has {len(palette)} colours for {len(classes)} classes; correct it.'
        )


def _check_weights_entry(entry: Any) -> None:
    if not (
        isinstance(entry, dict)
        and entry.get('file') == WEIGHTS
        and isinstance(entry.get('size'), int)
        and isinstance(entry.get('sha256'), str)
    ):
        raise UserError(
            f'its weights are described by {brief(entry)}, expected file {WEIGHTS!r}, '
            'size and sha256; save it with save_pretrained.'
        )


def _sha256(path: Path) -> str:
    # Importing pooch takes longer than the rest of this module.
    from pooch import file_hash

    return file_hash(path, alg='sha256')
