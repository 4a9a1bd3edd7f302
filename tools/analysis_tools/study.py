"""Train the unfinished runs of a study, then write its page with a table and a figure."""

__mmseg_encnet_tool__ = True

import argparse
import os
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_options_argument
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('study', help='study file, e.g. studies/msrc21.py')
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='number of simultaneous runs, which share the cores (default: %(default)s)',
    )
    parser.add_argument(
        '--full-size',
        action='store_true',
        help="use the study's full_size: large networks and images, for a GPU",
    )
    parser.add_argument(
        '--only-summary',
        action='store_true',
        help='write the page from the existing results, without training',
    )
    parser.add_argument(
        '--results',
        type=Path,
        help='folder of the results (default: results/NAME beside the study file)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/studies'),
        help='folder for unfinished runs (default: %(default)s)',
    )
    add_options_argument(parser)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> int:
    from mmseg_encnet.workbench.studies.definition import load_study
    from mmseg_encnet.workbench.studies.page import write_page
    from mmseg_encnet.workbench.studies.results import ResultFolder
    from mmseg_encnet.workbench.studies.scheduling import run_missing
    from mmseg_encnet.workbench.studies.statistics import summarise

    study = load_study(args.study, args.full_size)
    path = args.results or Path(args.study).parent / 'results' / study.name
    folder = ResultFolder(path)
    crashed = []
    if not args.only_summary:
        crashed = run_missing(
            study, folder, args.work_dir / study.name, args.workers, args.cfg_options
        )
    page = write_page(study, summarise(study, folder), path.parent)
    print(f'page: {page}')
    return 1 if crashed else 0


if __name__ == '__main__':
    main()
