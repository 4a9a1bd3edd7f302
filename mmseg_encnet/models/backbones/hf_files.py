"""Architectures and weights of Hugging Face Transformers, from local files where possible.

Only configs and safetensors files are read; code from the hub never runs.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmseg_encnet.errors import UserError, about, cut, first_line
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import read_json
from mmseg_encnet.values import brief, mapping

# Norms in front of the outputs, which image classifiers lack, and counters of batch norms.
_MAY_BE_MISSING = re.compile(r'^hidden_states_norms\.|\.num_batches_tracked$')


_CONFIG = 'config.json'


def transformers() -> ModuleType:
    """Import Hugging Face Transformers.

    Raises:
        UserError: It is not installed.
    """
    return require('transformers', 'hf')


def named_architecture(name: str) -> Any:
    """Return the config of a model in a folder, in the local cache or on the hub.

    Args:
        name: Folder, or name on the hub.

    Raises:
        UserError: The model is not available, or Transformers has no backbone for it.
    """
    config = _local_or_remote(
        name,
        lambda **options: transformers().AutoConfig.from_pretrained(
            name, trust_remote_code=False, **options
        ),
    )
    _check_has_backbone(config.model_type)
    return config


def described_architecture(entries: Mapping[str, Any]) -> Any:
    """Return the config of a model from its entries.

    Args:
        entries: ``model_type``, and entries that differ from the defaults of this type.

    Raises:
        UserError: The type has no backbone, or an entry is unknown or does not fit.
    """
    given = _plain(entries)
    model_type = given.pop('model_type', None)
    _check_has_backbone(model_type)
    known = transformers().AutoConfig.for_model(model_type)
    unknown = [key for key in given if not hasattr(known, key)]
    if unknown:
        raise UserError(
            f'unknown entry {unknown[0]!r} in the config of HFBackbone for model_type '
            f'{model_type!r}; choose among the arguments of {type(known).__name__}.'
        )
    try:
        config = transformers().AutoConfig.for_model(model_type, **given)
        # As read from a file: some networks concatenate lists, but have tuples as defaults.
        return type(config).from_dict(json.loads(config.to_json_string(use_diff=False)))
    except Exception as error:
        raise UserError(
            f'the config of HFBackbone does not fit model_type {model_type!r}: {_one_line(error)}'
        ) from error


def load_weights(name: str, model: Any) -> dict[str, Tensor]:
    """Load the weights of a backbone in single precision.

    Args:
        name: Folder, or name on the hub.
        model: A backbone of Transformers of the same architecture.

    Returns:
        State dict for ``model``; if it has other than three channels and the weights do not fit, of
        the same model for three.

    Raises:
        UserError: The weights are not available, are no safetensors, or do not fit the config.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and not any(folder.glob('*.safetensors')):
        pickled = sorted(path.name for path in (*folder.glob('*.bin'), *folder.glob('*.pt*')))
        found = f'only {pickled[0]}, a pickle that can run code' if pickled else 'no weights'
        raise UserError(
            f'folder {name} contains {found}; expected a safetensors file, as save_pretrained of '
            'Transformers writes it.'
        )
    # AutoBackbone.from_pretrained refuses folders, and asks the hub even for files in the cache.
    backbone, found = _local_or_remote(
        name,
        lambda **options: type(model).from_pretrained(
            name,
            # Transformers changes the config that it is given.
            config=copy.deepcopy(model.config),
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        ),
    )
    config = model.config
    if found['mismatched_keys'] and getattr(config, 'num_channels', 3) != 3:
        # A WidenInputHook may widen weights of three channels when they are loaded.
        config = copy.deepcopy(config)
        config.num_channels = 3
        return load_weights(name, type(model)(config))
    for entry in found['mismatched_keys']:
        key = entry if isinstance(entry, str) else entry[0]
        raise UserError(
            f'{key} of {name} has another shape than {tuple(model.state_dict()[key].shape)}, which '
            'the config of HFBackbone requires; use weights of the same architecture.'
        )
    missing = sorted(found['missing_keys'])
    needed = [key for key in missing if not _MAY_BE_MISSING.search(key)]
    if needed:
        raise UserError(
            f'the weights of {name} do not contain {len(needed)} entries of '
            f'{type(backbone).__name__}, such as {needed[0]}; use weights of the same architecture.'
        )
    if missing:
        print_log(
            f'{name} has no weights for {", ".join(missing)}; they keep their initial values.',
            'current',
        )
    return backbone.state_dict()


def _local_or_remote(name: str, load: Callable[..., Any]) -> Any:
    """Load local files, else files of the hub."""
    folder = Path(name).expanduser()
    path = folder.is_absolute() or name.startswith(('.', '~')) or name.count('/') > 1
    if path and not folder.is_dir():
        raise UserError(f'folder {name} does not exist; check the path.')
    if (folder / _CONFIG).is_file():
        # Transformers reads it without limits.
        with about(f'{name} cannot be loaded:'):
            mapping(read_json(folder / _CONFIG), _CONFIG)
    try:
        return load(local_files_only=True)
    except Exception as error:
        if 'trust_remote_code' in str(error):
            raise UserError(
                f'{name} needs code from its own folder, which never runs; choose a model whose '
                'type Transformers contains.'
            ) from error
        if folder.is_dir() or not isinstance(error, OSError):
            raise UserError(f'{name} cannot be loaded: {_one_line(error)}') from error
        local = first_line(error)
    if os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE'):
        raise UserError(
            f'{name} is not in the local cache and HF_HUB_OFFLINE is set ({local}); unset it, run '
            f"'hf download {name}' where there is a network and copy the cache, or pass a folder."
        )
    try:
        return load()
    except Exception as error:
        raise UserError(
            f'{name} is not in the local cache and cannot be downloaded ({first_line(error)}); run '
            f"'hf download {name}' where there is a network and copy the cache, or pass a folder; "
            'HF_HUB_OFFLINE=1 skips the attempt.'
        ) from error


def _one_line(error: Exception) -> str:
    return cut(' '.join(str(error).split()))


def _check_has_backbone(model_type: str | None) -> None:
    known = sorted(
        kind.model_type
        for kind in transformers().models.auto.modeling_auto.MODEL_FOR_BACKBONE_MAPPING
    )
    if model_type is None:
        raise UserError(
            f'the config of HFBackbone has no model_type; choose one of {", ".join(known)}.'
        )
    if model_type == 'timm_backbone':
        raise UserError(
            "got model_type 'timm_backbone' for HFBackbone; use TIMMBackbone of the toolbox."
        )
    if model_type not in known:
        raise UserError(
            f'model_type {brief(model_type)} has no backbone in transformers '
            f'{transformers().__version__}; install a newer version or choose one of '
            f'{", ".join(known)}.'
        )


def _plain(value: Any) -> Any:
    """Return the content of a config as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
