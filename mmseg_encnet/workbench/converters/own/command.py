"""The command line of the conversion of own data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmseg_encnet.workbench.converters.own.options import add_arguments, from_arguments

_DESCRIPTION = """\
Convert images and labels of your own into images/{train,val,test} and labels/{train,val,test}, with
a data set config, training configs and statistics. Labels can be index, palette or RGB images,
masks, COCO, LabelMe or CVAT files, or folders as in Pascal VOC. Nothing is written if a file cannot
be used; all such files are listed.
"""
_SHOWN = 50


def run(argv: Sequence[str] | None = None) -> None:
    """Run the conversion from the command line.

    Raises:
        UserError: An argument or a file cannot be used.
    """
    convert(parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of the conversion."""
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', type=Path, metavar='SRC', help='folder of images and labels')
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to write, empty or missing')
    parser.add_argument(
        '--copy', action='store_true', help='copy images instead of making hard links'
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    """Run the conversion with the result of :func:`parse_args`.

    Raises:
        UserError: An argument or a file cannot be used.
    """
    from mmseg_encnet.workbench.converters.own.conversion import convert_own

    reading, splitting = from_arguments(args)
    with problems_listed():
        converted = convert_own(args.src, args.out, reading, splitting, args.copy)
    print(converted.summary.text())
    print()
    print_warnings(converted.summary.warnings)
    print(f'the data set is complete in {args.out}; train on it with')
    for config in converted.configs:
        print(f'python tools/train.py {args.out / config}')


@contextmanager
def problems_listed() -> Iterator[None]:
    """Print all problems of ``UnusableData`` before it is raised."""
    from mmseg_encnet.workbench.converters.own.problems import UnusableData

    try:
        yield
    except UnusableData as error:
        for problem in error.problems[:_SHOWN]:
            print(problem, file=sys.stderr)
        if len(error.problems) > _SHOWN:
            print(f'and {len(error.problems) - _SHOWN} more files', file=sys.stderr)
        raise


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings, one per line."""
    for warning in warnings:
        print(f'warning: {warning}', file=sys.stderr)
