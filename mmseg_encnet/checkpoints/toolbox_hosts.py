"""The two hosts of the toolbox's own weights, tried one after the other.

OpenMMLab publishes MMSegmentation's checkpoints and backbones at download.openmmlab.com, the
maintained distributions (``onedl-mmsegmentation``) at mmassets.onedl.ai, with the same paths.
OpenMMLab's host has been reported unreachable since June 2026 (open-mmlab/mmdetection#12446 and
#12447). Importing this module registers both prefixes with mmengine's ``CheckpointLoader``, so that
an address at one host falls back to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.downloads import download
from mmseg_encnet.checkpoints.tensor_files import is_tensor_file
from mmseg_encnet.checkpoints.whole_files import ZIP_MAGIC
from mmseg_encnet.errors import UserError

HOSTS = ('https://mmassets.onedl.ai/', 'https://download.openmmlab.com/')
# First byte of the files that PyTorch wrote before 1.6.
_PICKLE_MAGIC = b'\x80'


def addresses(url: str) -> tuple[str, ...]:
    """Return an address at one of the hosts and the same path at the other host."""
    path = next(url.removeprefix(host) for host in HOSTS if url.startswith(host))
    return url, *(host + path for host in HOSTS if not url.startswith(host))


@CheckpointLoader.register_scheme(prefixes=HOSTS)
def load_from_toolbox_host(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint from an address at one of the hosts, for mmengine.

    Like mmengine's loader, it keeps the file in PyTorch's folder for checkpoints.

    Raises:
        DownloadError: The file can be downloaded from neither host.
    """
    target = fetch(addresses(filename), Path(urlsplit(filename).path).name)
    return CheckpointLoader.load_checkpoint(str(target), map_location)


def fetch(urls: Sequence[str], name: str) -> Path:
    """Return a checkpoint in PyTorch's folder, downloaded by one process if it is missing.

    Args:
        urls: Addresses of the file, in the order in which to try them.
        name: Its name in the folder.

    Raises:
        DownloadError: No address works.
    """
    target = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if get_rank() == 0 and not target.is_file():
        download(urls, target, _check)
    barrier()
    return target


def _check(path: Path) -> None:
    # A parked domain answers any address with a page.
    if is_tensor_file(path):
        return
    with path.open('rb') as file:
        if not file.read(len(ZIP_MAGIC)).startswith((ZIP_MAGIC, _PICKLE_MAGIC)):
            raise UserError('is not a checkpoint')
