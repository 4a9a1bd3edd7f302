"""The command line of the converters: fetch, unpack, convert, verify, say how to train."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import archives, labels
from mmseg_encnet.workbench.converters.download import PublishedFile, fetch
from mmseg_encnet.workbench.converters.verification import table, verify

_UNUSABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True)
class Workspace:
    """Where a conversion takes place; what a :attr:`Converter.convert` works with.

    Args:
        out: Folder of the result, the ``data_root`` of the configs.
        given: Folder that holds the publisher's files already; None to fetch them.
        jobs: Number of processes.
    """

    out: Path
    given: Path | None
    jobs: int

    def file(self, published: PublishedFile) -> Path:
        """Path of a publisher's file: in the given folder, or fetched into ``out/downloads``.

        Raises:
            UserError: If it cannot be fetched.
        """
        if self.given is None:
            return fetch(published, self.out / 'downloads')
        return self.given / published.name

    def unpack(
        self, published: PublishedFile, place: Callable[[str], str | None] = lambda name: name
    ) -> None:
        """Unpack a publisher's archive into ``out``, unless that is done; see ``archives.unpack``.

        Args:
            published: The archive; it is fetched only if it is not unpacked yet.
            place: Gets the name of a file in the archive and returns its path under ``out``, or
                None to leave it out.
        """
        if not self.is_unpacked(published):
            archives.unpack(self.file(published), self.out, place)

    def is_unpacked(self, published: PublishedFile) -> bool:
        """Whether a publisher's archive is unpacked, so that it is not needed any more."""
        return archives.unpacked_marker(published.name, self.out).is_file()

    def write_labels(
        self, draw: Callable[[Any], np.ndarray], tasks: Sequence[labels.LabelTask]
    ) -> None:
        """Write label images in parallel, except those that exist; see ``labels.write_labels``."""
        labels.write_labels(draw, tasks, self.jobs)

    def write_list(self, path: str, names: Iterable[str]) -> None:
        """Write a list of images, one name a line, to a path under ``out``."""
        target = self.out / path
        remove_leftovers(target.parent)
        write_whole(target, ''.join(f'{name}\n' for name in names).encode())


@dataclass(frozen=True)
class Converter:
    """One data set.

    Args:
        title: Its name for people.
        configs: Shipped configs that use the result, each with the number of images that the
            publisher's data set has in its train and its val split. The ``data_root`` of the first
            is the default place, and the first's classes are shown at the end.
        files: Everything needed from the publisher.
        convert: Makes the folders that the configs expect; it may be started again on what it, or
            a killed predecessor, has left.
    """

    title: str
    configs: Mapping[str, tuple[int | None, int | None]]
    files: tuple[PublishedFile, ...]
    convert: Callable[[Workspace], None]


def run(converter: Converter, argv: Sequence[str] | None = None) -> None:
    """Run a converter from the command line: the ``main`` of each tool.

    Raises:
        UserError: Whatever hinders it, in one sentence.
    """
    first = next(iter(converter.configs))
    default = Path(load_config(first).data_root)
    args = _parser(converter, default).parse_args(argv)
    if args.jobs < 1:
        raise UserError(f'--jobs {args.jobs} came, expected at least 1.')
    if args.given is not None and not args.given.is_dir():
        raise UserError(
            f'--from {args.given} is no folder; give the one that holds '
            f'{", ".join(file.name for file in converter.files)}.'
        )
    workspace = Workspace(args.out, args.given, args.jobs)
    _check_files(converter, workspace)
    try:
        converter.convert(workspace)
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise UserError(
            f'{error.filename or args.out} cannot be used ({error.strerror}); make '
            'room or give another folder, finished work is kept.'
        ) from error
    print(table(verify(converter.configs, args.out, args.jobs)))
    print()
    if (args.out / 'downloads').is_dir():
        print(f'{args.out / "downloads"} is not needed for training.')
    print(f'{converter.title} is complete in {args.out}; train on it with')
    for config in converter.configs:
        print(f'python tools/train.py configs/{config}.py --cfg-options data_root={args.out}')


def _check_files(converter: Converter, workspace: Workspace) -> None:
    """Say before hours of work that a file for its end is not to be had."""
    needed = [file for file in converter.files if not workspace.is_unpacked(file)]
    if workspace.given is None:
        for file in needed:
            if file.account:
                workspace.file(file)
        return
    missing = [file for file in needed if not workspace.file(file).is_file()]
    if missing:
        names = ' and '.join(file.name for file in missing)
        urls = ' and '.join(dict.fromkeys(file.url for file in missing))
        raise UserError(
            f'{workspace.given} holds no {names}; download from {urls} and put it there.'
        )


def _parser(converter: Converter, default: Path) -> argparse.ArgumentParser:
    files = '\n'.join(
        f'  {file.name}  {file.url}{"  (needs an account)" if file.account else ""}'
        for file in converter.files
    )
    parser = argparse.ArgumentParser(
        description=f'Fetch and convert {converter.title}. It can be stopped at any moment and '
        'started again; finished work is kept.',
        epilog=f'files of the publisher:\n{files}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'out',
        nargs='?',
        type=Path,
        default=default,
        help=f'folder of the result, {default} if not given',
    )
    parser.add_argument(
        '--from',
        dest='given',
        type=Path,
        metavar='DIR',
        help="folder that holds the publisher's files; nothing is fetched",
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        metavar='N',
        help='number of processes, all cores if not given',
    )
    return parser
