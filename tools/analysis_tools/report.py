"""Write an HTML report of runs: curves, classes, confusion, presence, context sheets and speed."""

__mmseg_encnet_tool__ = True

import argparse
import sys
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_options_argument
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs',
        nargs='+',
        type=Path,
        metavar='RUN_DIR',
        help='work dirs of training runs; the others are compared with the first',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('report.html'), help='page to write (default: %(default)s)'
    )
    parser.add_argument(
        '--checkpoint',
        choices=['last', 'best'],
        default='last',
        help='checkpoint to evaluate (default: %(default)s)',
    )
    parser.add_argument('--no-evaluation', action='store_true', help='read only the logs')
    add_options_argument(parser)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.reporting import write_report

    missing = write_report(
        args.runs, args.out, not args.no_evaluation, args.checkpoint, args.cfg_options
    )
    for sentence in missing:
        print(f'missing: {sentence}', file=sys.stderr)
    print(f'report: {args.out}')


if __name__ == '__main__':
    main()
