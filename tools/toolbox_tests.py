"""Compare the toolbox's own tests with and without mmseg_encnet imported.

Runs the tests of a clone of MMSegmentation twice against the installed toolbox and prints the tests
whose outcome differs. Exit status 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.toolbox_tests import compare_toolbox_tests, summary


@exit_with_one_sentence
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', type=Path, help='clone of MMSegmentation at the installed version'
    )
    parser.add_argument(
        'arguments', nargs='*', help='arguments for pytest, after --; for example: -- -k backbones'
    )
    args = parser.parse_args()
    comparison = compare_toolbox_tests(args.source, args.arguments)
    print(summary(comparison))
    for line in comparison.differences:
        print(line)
    sys.exit(bool(comparison.differences))


if __name__ == '__main__':
    main()
