"""Compare the toolbox's own tests with and without mmseg_encnet imported.

Runs the tests of a clone of MMSegmentation twice against the installed toolbox and prints the tests
whose outcome differs. Exit status 1 if there are any.
"""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse
import sys
from pathlib import Path

from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', type=Path, help='clone of MMSegmentation at the installed version'
    )
    parser.add_argument(
        'arguments', nargs='*', help='arguments for pytest, after --; for example: -- -k backbones'
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.toolbox_tests import compare_toolbox_tests, summary

    comparison = compare_toolbox_tests(args.source, args.arguments)
    print(summary(comparison))
    for line in comparison.differences:
        print(line)
    sys.exit(bool(comparison.differences))


if __name__ == '__main__':
    main()
