"""Weights that PyTorch-Encoding publishes: four EncNets and the backbones they started from.

Each is a zip file with one ``.pth``, whose SHA-1 is published in that project's
``encoding/models/model_store.py``. No other ImageNet weights exist for the 64-64-128 stem.
Importing this module registers the checkpoint scheme ``pytorch-encoding://`` with mmengine, for
``init_cfg=dict(type='Pretrained', checkpoint='pytorch-encoding://resnet50s')``, or
``pytorch-encoding://FOLDER/resnet50s`` to keep the weights in a folder.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.conversion import convert_checkpoint
from mmseg_encnet.checkpoints.downloads import download
from mmseg_encnet.checkpoints.layouts import rename_backbone
from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError

SCHEME = 'pytorch-encoding://'
# The addresses in that project's ``encoding/models/model_store.py``, newest first. Its issues #393
# and #395 report the first dead in May 2021, #273 the last in May 2020.
BASE_URLS = (
    'https://s3.us-west-1.wasabisys.com/encoding/models/',  # commit c99b108, June 2020
    'https://hangzh.s3-us-west-1.amazonaws.com/encoding/models/',  # commit c9d4a46, May 2020
    'https://hangzh.s3.amazonaws.com/encoding/models/',  # commit 2d21747, June 2018
)
IMAGENET_SHA1 = {
    'resnet50s': 'a75c83cfc89a56a4e8ba71b14f1ec67e923787b3',
    'resnet101s': '03a0f310d6447880f1b22a83bd7d1aa7fc702c6e',
    'resnet152s': '36670e8bc2428ecd5b7db1578538e2dd23872813',
}
ENCNET_SHA1 = {
    'encnet_resnet50s_pcontext': '4de91d5922d4d3264f678b663f874da72e82db00',
    'encnet_resnet101s_pcontext': '9f27ea13d514d7010e59988341bcbd4140fcc33d',
    'encnet_resnet50s_ade': '07ac287cd77e53ea583f37454e17d30ce1509a4a',
    'encnet_resnet101s_ade': '3f54fa3b67bac7619cd9b3673f5c8227cf8f4718',
}


def cache_dir() -> Path:
    """Return the folder for downloads and converted weights, below ``TORCH_HOME``."""
    return Path(torch.hub.get_dir()) / 'checkpoints' / 'mmseg_encnet'


def load_imagenet_backbone(name: str, root: Path | None = None) -> dict[str, torch.Tensor]:
    """Load an ImageNet backbone as a state dict of :class:`ResNetV1s`.

    Downloads the published zip file unless ``root`` holds it or the ``.pth`` inside it, checks the
    SHA-1, and keeps only the ``.pth``.

    Args:
        name: ``resnet50s``, ``resnet101s`` or ``resnet152s``.
        root: Folder for the downloads. Default: :func:`cache_dir`.

    Raises:
        UserError: The name is unknown, the file cannot be downloaded, or its SHA-1 is wrong.
    """
    if name not in IMAGENET_SHA1:
        raise UserError(
            f'unknown PyTorch-Encoding backbone {name!r}; choose one of {", ".join(IMAGENET_SHA1)}.'
        )
    weights_file, data = _fetch(name, IMAGENET_SHA1[name], root)
    try:
        source = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f'{weights_file} contains more than plain weights, and loading it could run code; '
            'delete the file and try again.'
        ) from error
    return rename_backbone(source)


def convert_published_encnet(
    name: str, root: Path | None = None, dataset_meta: Mapping[str, Any] | None = None
) -> Path:
    """Return the path of a published EncNet, converted; download it unless ``root`` holds it.

    Args:
        name: A key of ``ENCNET_SHA1``.
        root: Folder for the download and the converted file. Default: :func:`cache_dir`.
        dataset_meta: See :func:`convert_checkpoint`.

    Raises:
        UserError: The file cannot be downloaded, or its SHA-1 is wrong.
    """
    root = cache_dir() if root is None else Path(root)
    sha1 = ENCNET_SHA1[name]
    target = root / f'{name}-{sha1[:8]}_converted.pth'
    if not target.is_file():
        weights_file, _ = _fetch(name, sha1, root)
        convert_checkpoint(weights_file, target, dataset_meta)
    return target


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_pytorch_encoding(filename: str, map_location=None) -> dict:
    """Load ``pytorch-encoding://NAME`` or ``pytorch-encoding://FOLDER/NAME`` for mmengine."""
    root, _, name = filename.removeprefix(SCHEME).rpartition('/')
    # One process downloads the file; the others find it in place.
    if get_rank() != 0:
        barrier()
    state_dict = load_imagenet_backbone(name, Path(root).expanduser() if root else None)
    if get_rank() == 0:
        barrier()
    return dict(state_dict=state_dict, meta={})


def _fetch(name: str, sha1: str, root: Path | None) -> tuple[Path, bytes]:
    """Return path and content of a published ``.pth``, downloaded if necessary and checked."""
    stem = f'{name}-{sha1[:8]}'
    root = cache_dir() if root is None else Path(root)
    weights_file = root / f'{stem}.pth'
    if not weights_file.is_file():
        archive = root / f'{stem}.zip'
        if not archive.is_file():
            urls = [f'{base}{archive.name}' for base in BASE_URLS]
            download(urls, archive, lambda path: _check_sha1(_read_member(path), sha1))
        with _about(archive):
            data = _read_member(archive)
            _check_sha1(data, sha1)
        write_whole(weights_file, data)
        # Another process may do the same at the same time.
        archive.unlink(missing_ok=True)
    data = weights_file.read_bytes()
    with _about(weights_file):
        _check_sha1(data, sha1)
    return weights_file, data


@contextmanager
def _about(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f'{path} {error}; delete the file and try again.') from error


def _read_member(archive: Path) -> bytes:
    try:
        with zipfile.ZipFile(archive) as content:
            members = [info for info in content.infolist() if info.filename.endswith('.pth')]
            if len(members) == 1:
                return content.read(members[0])
    except zipfile.BadZipFile as error:
        raise UserError('is not an intact zip file') from error
    raise UserError(f'contains {len(members)} .pth files, expected exactly one')


def _check_sha1(data: bytes, sha1: str) -> None:
    found = hashlib.sha1(data).hexdigest()
    if found != sha1:
        raise UserError(f'has SHA-1 {found}, expected {sha1}')
