"""Checkpoints given by an address."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.tensor_files import SUFFIX
from mmseg_encnet.checkpoints.toolbox_hosts import HOSTS, addresses, fetch


def local_file(name: str | Path) -> str:
    """Return the path of a checkpoint, after downloading it if ``name`` is an address.

    Downloads are kept in PyTorch's folder for checkpoints.

    Args:
        name: A path, or an address that starts with ``http://`` or ``https://``.

    Raises:
        DownloadError: The file cannot be downloaded.
    """
    name = str(name)
    if not name.startswith(('http://', 'https://')):
        return name
    file = Path(urlsplit(name).path).name
    if name.startswith(HOSTS):
        return str(fetch(addresses(name), file))
    # Different runs publish files of the same name, such as latest.pth.
    return str(fetch([name], f'{hashlib.sha256(name.encode()).hexdigest()[:8]}-{file}'))


# The toolbox would read the download as a file of torch.save.
@CheckpointLoader.register_scheme(prefixes=rf'https?://.*{re.escape(SUFFIX)}$')
def load_from_address(filename: str, map_location: Any = None) -> dict:
    """Load a safetensors file from an address, for mmengine."""
    return CheckpointLoader.load_checkpoint(local_file(filename), map_location)
