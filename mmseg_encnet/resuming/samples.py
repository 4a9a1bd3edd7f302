"""Recognise the samples of a training set: which images and labels, in which order.

Neither the folder of the data set nor the times of its files matter, so a data set may move to
another disk.
"""

from __future__ import annotations

import hashlib
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_encnet.datasets.wrappers import leaf_datasets

# Reading more files would delay the first iteration on slow disks.
_MAX_READ = 10_000
_EDGE = 4096
_THREADS = 8
_CHUNK = 64
_LISTED = 2


class Samples(NamedTuple):
    """The samples of a data set, without those that wrappers repeat.

    Attributes:
        names: Digests of the names of image and label, int64 of shape ``(N,)``.
        sizes: Digests of the sizes of their files, int64 of shape ``(N,)``.
        edges: Digests of the first and last 4 KiB of the files, int64 of shape ``(N,)``; 0 where
            they were not read.
        listed: The names themselves; empty if the samples come from a checkpoint.
    """

    names: Tensor
    sizes: Tensor
    edges: Tensor
    listed: Sequence[str] = ()


def samples_of(dataset: Any) -> Samples:
    """Return the samples of a data set.

    The sizes of all files are compared, and the first and last bytes of at most 10,000 samples,
    spread evenly. Files on other storage than a local disk are known by their names only.
    """
    found = [
        (_folders(leaf), leaf.get_data_info(index))
        for leaf in leaf_datasets(dataset)
        for index in range(len(leaf))
    ]
    stride = max(-(-len(found) // _MAX_READ), 1)
    names = [_name(info, folders) for folders, info in found]
    files = [(_files(info), index % stride == 0) for index, (_, info) in enumerate(found)]
    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
        contents = [part for chunk in pool.map(_contents, chunks) for part in chunk]
    return Samples(
        torch.tensor([_digest(name.encode()) for name in names], dtype=torch.int64),
        torch.tensor([size for size, _ in contents], dtype=torch.int64),
        torch.tensor([edge for _, edge in contents], dtype=torch.int64),
        names,
    )


def difference(before: Samples, now: Samples) -> str | None:
    """Return how the samples have changed, or None if they have not."""
    if torch.equal(before.names, now.names):
        return _listing('with other content', *_named(_other_content(before, now), now))
    then, since = Counter(before.names.tolist()), Counter(now.names.tolist())
    lost, gained = then - since, since - then
    if not lost and not gained:
        return 'in another order'
    # Only their digests are known.
    parts = [f'{lost.total()} lost'] if lost else []
    parts += [
        _listing(
            'gained', *_named([i for i, n in enumerate(now.names.tolist()) if n in gained], now)
        )
    ] * bool(gained)
    return ' and '.join(part for part in parts if part)


def _other_content(before: Samples, now: Samples) -> list[int]:
    read = (before.edges != 0) & (now.edges != 0)
    other = (before.sizes != now.sizes) | (read & (before.edges != now.edges))
    return other.nonzero().flatten().tolist()


def _named(indices: list[int], samples: Samples) -> tuple[int, list[str]]:
    return len(indices), [samples.listed[index] for index in indices[:_LISTED]]


def _listing(what: str, count: int, names: list[str]) -> str | None:
    if not count:
        return None
    return f'{count} {what} ({", ".join(names)}{", ..." * (count > len(names))})'


def _folders(leaf: Any) -> list[str]:
    """Return the folders that precede the names of a data set's files, innermost first."""
    prefixes = [path for path in (leaf.data_prefix or {}).values() if isinstance(path, str)]
    root = [leaf.data_root] if leaf.data_root else []
    return [f'{Path(folder)}/' for folder in [*sorted(prefixes, key=len, reverse=True), *root]]


def _files(info: dict[str, Any]) -> list[str]:
    return [
        value
        for key, value in sorted(info.items())
        if key.endswith('path') and isinstance(value, str)
    ]


def _name(info: dict[str, Any], folders: Sequence[str]) -> str:
    files = _files(info)
    if not files:
        return repr({key: value for key, value in info.items() if key != 'sample_idx'})
    return ' with '.join(_relative(path, folders) for path in files)


def _relative(path: str, folders: Sequence[str]) -> str:
    if '://' in path:
        return path
    path = str(Path(path))
    for folder in folders:
        if folder != './' and path.startswith(folder):
            return path.removeprefix(folder)
    return path if not path.startswith('/') else Path(path).name


def _contents(samples: Sequence[tuple[list[str], bool]]) -> list[tuple[int, int]]:
    """Return the digests of the sizes and, if they are to be read, of the edges of files."""
    return [_content(files, read) for files, read in samples]


def _content(files: Sequence[str], read: bool) -> tuple[int, int]:
    sizes, edges = [], hashlib.blake2b(digest_size=8)
    for path in files:
        try:
            status = Path(path).stat()
            sizes.append(status.st_size)
            if read and stat.S_ISREG(status.st_mode):
                with Path(path).open('rb') as file:
                    edges.update(file.read(_EDGE))
                    file.seek(max(status.st_size - _EDGE, 0))
                    edges.update(file.read(_EDGE))
        except OSError:
            # On other storage, or missing, which is reported when the sample is loaded.
            sizes.append(-1)
    return _digest(repr(sizes).encode()), _signed(edges.digest()) if read else 0


def _digest(content: bytes) -> int:
    return _signed(hashlib.blake2b(content, digest_size=8).digest())


def _signed(digest: bytes) -> int:
    return int.from_bytes(digest, 'little', signed=True)
