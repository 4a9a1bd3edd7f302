"""The command line of the converters: fetch, unpack, convert, verify, print how to train."""

from __future__ import annotations

import argparse
import errno
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from mmengine.config import Config

from mmseg_encnet.configuration.command_line import add_jobs
from mmseg_encnet.configuration.shipped import config_file
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import archives, labels
from mmseg_encnet.workbench.converters.download import PublishedFile, check_accounts, fetch

_UNUSABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True)
class Workspace:
    """Folders of a conversion, with the operations that :attr:`Converter.convert` uses.

    Args:
        out: Output folder, the ``data_root`` of the configs.
        given: Folder with the publisher's files; None to fetch them.
        jobs: Number of processes.
    """

    out: Path
    given: Path | None
    jobs: int

    def file(self, published: PublishedFile) -> Path:
        """Return the path of a publisher's file: in ``given``, or fetched into ``out/downloads``.

        Raises:
            UserError: The file cannot be fetched.
        """
        if self.given is None:
            return fetch(published, self.out / 'downloads')
        return self.given / published.name

    def unpack(self, published: PublishedFile, wanted: str = '(.*)', folder: str = '') -> None:
        """Unpack a publisher's archive into ``out``, unless already done; see ``archives.unpack``.

        Args:
            published: The archive, fetched only if it is not unpacked yet.
            wanted: Pattern of the names of the files to unpack; its first group is the path.
            folder: Folder of the paths, below ``out``.
        """

        def place(name: str) -> str | None:
            match = re.fullmatch(wanted, name)
            return match and str(PurePosixPath(folder, match[1]))

        if not self.is_unpacked(published):
            archives.unpack(self.file(published), self.out, place)

    def is_unpacked(self, published: PublishedFile) -> bool:
        """Return whether a publisher's archive is unpacked and no longer needed."""
        return archives.unpacked_marker(published.name, self.out).is_file()

    def write_labels(
        self, draw: Callable[[Any], np.ndarray], tasks: Sequence[labels.LabelTask]
    ) -> None:
        """Write missing label images in parallel; see ``labels.write_labels``."""
        labels.write_labels(draw, tasks, self.jobs)

    def write_pairs(
        self,
        draw: Callable[[Any], np.ndarray],
        pairs: Iterable[tuple[str, Path, Any]],
        width: int | None = None,
    ) -> None:
        """Write missing ``images/NAME.jpg`` and ``labels/NAME.png`` in parallel.

        Args:
            draw: See ``labels.write_labels``.
            pairs: Name, image file and source of the label.
            width: Width of the written images in pixels; None keeps their sizes.
        """
        from mmseg_encnet.workbench.converters.photographs import write_photograph

        photographs, tasks = {}, []
        for name, photograph, source in pairs:
            image = self.out / 'images' / f'{name}.jpg'
            photographs[image] = photograph
            tasks.append(labels.LabelTask(image, self.out / 'labels' / f'{name}.png', source))
        write = partial(write_photograph, width=width)
        labels.write_missing(write, photographs, self.jobs, 'images')
        self.write_labels(draw, tasks)

    def write_list(self, path: str, names: Iterable[str]) -> None:
        """Write a list of image names, one per line, to a path under ``out``."""
        from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole

        target = self.out / path
        remove_leftovers(target.parent)
        write_whole(target, ''.join(f'{name}\n' for name in names).encode())


@dataclass(frozen=True)
class Converter:
    """The conversion of one data set.

    Args:
        title: Name of the data set in messages.
        configs: Shipped configs that use the result, each with the published number of training and
            validation images. The first one determines the default output folder, its
            ``data_root``, and the classes in the final table.
        files: The publisher's files that are needed.
        convert: Function that produces the folders of the configs. It may find files from an
            earlier run, complete or killed.
    """

    title: str
    configs: Mapping[str, tuple[int | None, int | None]]
    files: tuple[PublishedFile, ...]
    convert: Callable[[Workspace], None]


def run(converter: Converter, argv: Sequence[str] | None = None) -> None:
    """Run a converter from the command line.

    Raises:
        UserError: An argument is invalid, or a file is missing or damaged.
    """
    convert(converter, parse_args(converter, argv))


def convert(converter: Converter, args: argparse.Namespace) -> None:
    """Run a converter with the result of :func:`parse_args`.

    Raises:
        UserError: An argument is invalid, or a file is missing or damaged.
    """
    from mmseg_encnet.workbench.converters.verification import table, verify

    if args.jobs < 1:
        raise UserError(f'--jobs must be at least 1, got {args.jobs}.')
    if args.given is not None and not args.given.is_dir():
        raise UserError(
            f'--from {args.given} is not a folder; give the folder that contains '
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
            f'{error.filename or args.out} cannot be used ({error.strerror}); free disk space or '
            'give another folder; finished work is kept.'
        ) from error
    print(table(verify(converter.configs, args.out, args.jobs)))
    print()
    if (args.out / 'downloads').is_dir():
        print(f'{args.out / "downloads"} is not needed for training.')
    print(f'{converter.title} is complete in {args.out}; train on it with')
    for config in converter.configs:
        print(f'python tools/train.py configs/{config}.py --cfg-options data_root={args.out}')


def _check_files(converter: Converter, workspace: Workspace) -> None:
    """Report missing files at the start, not after hours of work."""
    needed = [file for file in converter.files if not workspace.is_unpacked(file)]
    if workspace.given is None:
        check_accounts(needed, workspace.out / 'downloads')
        return
    missing = [file for file in needed if not workspace.file(file).is_file()]
    if missing:
        names = ' and '.join(file.name for file in missing)
        urls = ' and '.join(dict.fromkeys(file.url for file in missing))
        raise UserError(
            f'{workspace.given} does not contain {names}; download from {urls} into it.'
        )


def parse_args(converter: Converter, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of a converter."""
    first = next(iter(converter.configs))
    default = Path(Config.fromfile(config_file(first)).data_root)
    files = '\n'.join(
        f'  {file.name}  {" or ".join(file.urls)}{"  (needs an account)" if file.account else ""}'
        for file in converter.files
    )
    parser = argparse.ArgumentParser(
        description=f'Fetch and convert {converter.title}. The command can be stopped at any time '
        'and run again; finished work is kept.',
        epilog=f"publisher's files:\n{files}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'out',
        nargs='?',
        type=Path,
        default=default,
        help=f'output folder (default: {default})',
    )
    parser.add_argument(
        '--from',
        dest='given',
        type=Path,
        metavar='DIR',
        help="folder with the publisher's files; nothing is downloaded",
    )
    add_jobs(parser)
    return parser.parse_args(argv)
