"""Trained networks on the Hugging Face Hub: publish one, load one.

Only ``config.json`` and ``model.safetensors`` are downloaded, both of one commit, and they are
checked as those of any folder are.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmseg.models import BaseSegmentor

from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.extras import require
from mmseg_encnet.hub.model_card import Card, describe_network
from mmseg_encnet.hub.pretrained import (
    CONFIG,
    WEIGHTS,
    PretrainedFolder,
    read_folder,
    save_pretrained,
)
from mmseg_encnet.predicting import Segmentor, load_segmentor

_REPOSITORY = re.compile(r'[\w.-]+(/[\w.-]+)?')
_WHAT_TO_DO = {
    401: 'it does not exist, or is private: log in with `hf auth login` or pass token=...',
    403: 'your token does not allow it: use one with the permission for this repository',
    404: 'it does not exist: check its name and revision',
    429: 'there were too many requests: wait and try again',
}


def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    device: str | None = None,
    runtime: str = 'torch',
    precision: str = 'float32',
) -> Segmentor:
    """Load a trained network from the hub or a folder, without running anything in it.

    Args:
        source: Name of a repository of the hub, or a folder that :func:`save_pretrained` wrote. An
            existing folder comes first.
        revision: Branch, tag or commit of the repository. Default: its main branch.
        token: Token for private repositories. Default: that of ``hf auth login``.
        endpoint: Address of the hub. Default: the environment variable ``HF_ENDPOINT``, or
            ``https://huggingface.co``.
        cache_dir: Folder of downloads. Default: that of ``huggingface_hub``. What it has can be
            loaded offline.
        device: Device such as ``cpu`` or ``cuda:0``; by default a GPU if one is available.
        runtime: As of :func:`mmseg_encnet.predicting.load_segmentor`.
        precision: See there.

    Returns:
        The network ready to predict; ``segmentor.predict('photo.jpg')`` segments an image.

    Raises:
        UserError: The repository or folder does not exist or cannot be fetched, a file of it is
            missing or damaged, or it contains anything but plain data.
    """
    found = pretrained_folder(source, revision, token, endpoint, cache_dir)
    return load_segmentor(
        found.cfg, str(found.weights), device, runtime=runtime, precision=precision
    )


def pretrained_folder(
    source: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
) -> PretrainedFolder:
    """Return the checked folder of a source; see :func:`from_pretrained`."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return read_folder(folder)
    name = str(source)
    if isinstance(source, Path) or not _is_repository(name):
        raise UserError(
            f'{name} is neither a folder nor the name of a repository such as USER/NAME; check it.'
        )
    hub = require('huggingface_hub', 'hub')
    options = dict(token=token, endpoint=endpoint, cache_dir=cache_dir)
    with _explaining(f'repository {name} cannot be loaded'):
        config = Path(hub.hf_hub_download(name, CONFIG, revision=revision, **options))
        # The folder in the cache is named by the commit; the branch may have moved on since.
        hub.hf_hub_download(name, WEIGHTS, revision=config.parent.name, **options)
    return read_folder(config.parent, f'repository {name}')


def push_to_hub(
    model: BaseSegmentor,
    repo_id: str,
    *,
    card: Card | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    message: str = 'Upload EncNet',
) -> str:
    """Publish a trained network on the hub.

    Args:
        model: As for :func:`save_pretrained`.
        repo_id: Name of the repository; it is created if it does not exist.
        card: Model card. By default a short one that follows from the network.
        private: Whether a new repository is private. Default: the setting of the account.
        token: Token with write permission. Default: that of ``hf auth login``.
        endpoint: As for :func:`from_pretrained`.
        message: Message of the commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: The model cannot be saved, the name is impossible, or the hub refuses it or
            cannot be reached.
    """
    require('huggingface_hub', 'hub')
    _check_repository(repo_id)
    if card is None:
        sections = describe_network(model, list(model.dataset_meta['classes']))
        card = Card(name=repo_id.rpartition('/')[2], sections=sections)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, card)
        return push_folder(
            folder, repo_id, private=private, token=token, endpoint=endpoint, message=message
        )


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    message: str = 'Upload EncNet',
) -> str:
    """Publish a folder that :func:`save_pretrained` wrote; see :func:`push_to_hub`."""
    hub = require('huggingface_hub', 'hub')
    _check_repository(repo_id)
    folder = Path(folder)
    # What nobody could load is not published.
    read_folder(folder)
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    api = hub.HfApi(endpoint=endpoint, token=token)
    with _explaining(f'repository {repo_id} cannot be written'):
        created = api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.create_commit(
            created.repo_id,
            [hub.CommitOperationAdd(path.name, str(path)) for path in files],
            commit_message=message,
        )
    return commit.commit_url


def _is_repository(name: str) -> bool:
    return bool(_REPOSITORY.fullmatch(name)) and not name.startswith('.')


def _check_repository(name: str) -> None:
    if not _is_repository(name):
        raise UserError(f'got the repository {name!r}, expected a name such as USER/NAME.')


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Turn errors of the hub's client into one sentence that begins with ``what``."""
    errors = require('huggingface_hub.errors', 'hub')
    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError(f'{what} ({first_line(error)}); correct the name.') from error
    except Exception as error:
        reason = _reason(error, errors)
        if reason is None:
            raise
        raise UserError(f'{what}: {reason}.') from error


def _reason(error: BaseException, errors: Any) -> str | None:
    """Return why a request failed, or None if the error is not one of the client's."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for link in chain:
        if isinstance(link, errors.OfflineModeIsEnabled):
            return (
                'it is not in the cache, and the environment forbids requests; unset '
                'HF_HUB_OFFLINE or load it once while online'
            )
        if isinstance(link, errors.EntryNotFoundError) and isinstance(link, errors.HfHubHTTPError):
            return f'it has no {CONFIG} or {WEIGHTS}; name one that push_to_hub wrote'
        if isinstance(link, errors.HfHubHTTPError):
            status = getattr(link.response, 'status_code', None)
            if isinstance(link, errors.RepositoryNotFoundError):
                status = 401 if status in (401, 404) else status
            default = 'the hub failed: try again later'
            return f'{_WHAT_TO_DO.get(status, default)} (HTTP status {status})'
    for link in chain:
        module = type(link).__module__.partition('.')[0]
        if module.startswith('httpx') or isinstance(link, (ConnectionError, TimeoutError)):
            return f'the connection failed ({type(link).__name__}): check it and try again'
    if isinstance(error, (OSError, errors.FileMetadataError)):
        return f'{first_line(error)}: try again'
    return None
