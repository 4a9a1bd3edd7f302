"""What a user can state about images and labels, as arguments of tools."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_jobs
from mmseg_encnet.errors import UserError

FORMATS = ('index', 'palette', 'colours', 'masks', 'coco', 'labelme', 'cvat', 'pascal')


@dataclass(frozen=True)
class Reading:
    """How to read images and labels. Everything has a default that is found in the files.

    Args:
        format: One of ``FORMATS``; None to find it.
        images: Folder of the images, relative to the source.
        labels: Folder or file of the labels, relative to the source.
        pattern: File name of a label, with ``{name}`` for that of its image and ``{class}`` for a
            class; optionally after a pattern for the image and ``=``.
        table: File with the names, values and colours of classes.
        ignore: Classes to ignore, by name, value or ``#rrggbb``.
        background: ``'class'`` or ``'ignore'``: what pixels outside all shapes and masks are.
        tolerance: Largest difference of a channel from the colour of a class.
        ignore_unknown: Ignore pixels of unknown classes instead of reporting them.
        skip_unlabelled: Leave out images without labels instead of reporting them.
        orientation: ``'upright'`` or ``'stored'``: what labels of photographs with an EXIF
            orientation follow; None to decide by their size.
        jobs: Number of processes.
    """

    format: str | None = None
    images: str | None = None
    labels: str | None = None
    pattern: str | None = None
    table: Path | None = None
    ignore: Sequence[str] = ()
    background: str = 'class'
    tolerance: int = 0
    ignore_unknown: bool = False
    skip_unlabelled: bool = False
    orientation: str | None = None
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        for name, value, known in (
            ('format', self.format, (None, *FORMATS)),
            ('background', self.background, ('class', 'ignore')),
            ('orientation', self.orientation, (None, 'upright', 'stored')),
        ):
            if value not in known:
                choices = ', '.join(filter(None, known))
                raise UserError(f'unknown {name} {value!r}; choose one of {choices}.')
        if not 0 <= self.tolerance <= 255:
            raise UserError(f'tolerance must be from 0 to 255, got {self.tolerance}.')
        if self.jobs < 1:
            raise UserError(f'jobs must be at least 1, got {self.jobs}.')


@dataclass(frozen=True)
class Splitting:
    """How to divide images into train, val and test.

    Args:
        lists: Lists of names: a folder of ``train.txt``, ``val.txt`` and ``test.txt``, or such
            files. None to use lists and folders of the source, or else to draw.
        groups: Regular expression for file names, or for paths if it contains ``/``; images with
            the same match, or the same groups of the match, stay together in a draw.
        shares: Shares of the three splits in a draw.
        seed: Seed of the draw.
        draw: Draw even if lists or folders exist.
    """

    lists: Sequence[Path] = ()
    groups: str | None = None
    shares: Sequence[float] = (0.8, 0.2, 0.0)
    seed: int = 0
    draw: bool = False

    def __post_init__(self) -> None:
        shares = tuple(self.shares)
        if len(shares) != 3 or min(shares) < 0 or not shares[0] or not shares[1]:
            raise UserError(
                f'shares must be three numbers for train, val and test, the first two positive, '
                f'got {" ".join(f"{share:g}" for share in shares)}.'
            )
        if self.lists and self.draw:
            raise UserError('got both --draw and --split-lists; choose one.')
        try:
            re.compile(self.groups or '')
        except re.error as error:
            raise UserError(f'groups {self.groups!r} is not a regular expression ({error}).') from (
                error
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of :class:`Reading` and :class:`Splitting` to a parser."""
    group = parser.add_argument_group('images and labels (default: found in the files)')
    group.add_argument('--format', choices=FORMATS, help='format of the labels')
    group.add_argument('--images', metavar='DIR', help='folder of the images, relative to the data')
    group.add_argument(
        '--labels', metavar='PATH', help='folder or file of the labels, relative to the data'
    )
    group.add_argument(
        '--pattern',
        metavar='[IMAGE=]LABEL',
        help="file name of a label: '{name}_mask.png' for the mask of {name}.jpg, "
        "'{class}/{name}.png' for a mask per class, 'img_{name}.jpg=gt_{name}.png' if the image "
        'has other words in its name, too',
    )
    group.add_argument(
        '--colours',
        '--classes',
        dest='table',
        type=Path,
        metavar='FILE',
        help='table of classes (CSV, JSON or text): names with values or colours, or names alone '
        'in the order of their values',
    )
    group.add_argument(
        '--ignore',
        nargs='+',
        default=(),
        metavar='CLASS',
        help="classes whose pixels are ignored, by name, value or '#rrggbb'",
    )
    group.add_argument(
        '--background',
        choices=('class', 'ignore'),
        default='class',
        help='whether pixels outside all shapes and masks are class 0 or ignored '
        '(default: %(default)s)',
    )
    group.add_argument(
        '--tolerance',
        type=int,
        default=0,
        metavar='N',
        help='assign colours to the nearest class within N in every channel, for labels that were '
        'saved as JPEG or smoothed (default: %(default)s)',
    )
    group.add_argument(
        '--ignore-unknown', action='store_true', help='ignore pixels of unknown classes'
    )
    group.add_argument(
        '--skip-unlabelled', action='store_true', help='leave out images without labels'
    )
    group.add_argument(
        '--orientation',
        choices=('upright', 'stored'),
        help='whether labels follow the upright photograph or the stored pixels, where the EXIF '
        'orientation does not show in the size',
    )
    add_jobs(group)
    group = parser.add_argument_group('splits (default: lists or folders in the data, else drawn)')
    group.add_argument(
        '--split-lists',
        dest='lists',
        nargs='+',
        type=Path,
        default=(),
        metavar='PATH',
        help='train.txt, val.txt and test.txt, or their folder: one image name per line',
    )
    group.add_argument(
        '--draw', action='store_true', help='draw splits although the data have some'
    )
    group.add_argument(
        '--groups',
        metavar='REGEX',
        help='images with the same match in their name stay in one split, such as '
        r"'^[^_]+' for frames VIDEO_FRAME.jpg and '.*/' for a folder per video",
    )
    group.add_argument(
        '--shares',
        nargs=3,
        type=float,
        default=(0.8, 0.2, 0.0),
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='shares of drawn splits (default: 0.8 0.2 0)',
    )
    group.add_argument(
        '--seed', type=int, default=0, help='seed of the draw (default: %(default)s)'
    )


def from_arguments(args: argparse.Namespace) -> tuple[Reading, Splitting]:
    """Return what a user stated on the command line."""
    reading, splitting = (
        kind(**{option.name: getattr(args, option.name) for option in fields(kind)})
        for kind in (Reading, Splitting)
    )
    return reading, splitting
