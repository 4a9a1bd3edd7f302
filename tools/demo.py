"""Train FCN and EncNet on the embedded data set and compare them."""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of both runs (default: %(default)s)'
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for the results (default: %(default)s)',
    )
    parser.add_argument(
        '--rows', type=int, default=6, help='number of scenes in the figure (default: %(default)s)'
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.demo.demo import run_demo

    run_demo(args.seed, args.work_dir, args.rows, print)


if __name__ == '__main__':
    main()
