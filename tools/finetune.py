"""Train a network on your own photographs, starting from one that ships.

DATA_DIR contains images and labels in any format that tools/dataset_converters/own.py reads, for
example images/ and labels/ with class indices, masks, or LabelMe files. Twenty labelled photographs
are a start.
"""

__mmseg_encnet_tool__ = True

import argparse
import sys
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_options_argument
from mmseg_encnet.extras import require
from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters.own.options import add_arguments, from_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, metavar='DATA_DIR', help='folder of images and labels')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('finetuned'),
        help='folder for config, checkpoint, report and predictions (default: %(default)s)',
    )
    parser.add_argument(
        '--iterations',
        type=int,
        default=300,
        help='maximum number of iterations; training stops when the validation no longer improves '
        '(default: %(default)s)',
    )
    add_arguments(parser)
    parser.add_argument(
        '--weights',
        default='model.pth',
        metavar='NAME',
        help='name of the best checkpoint in the output folder; with the ending .safetensors it '
        'contains the weights and classes alone (default: %(default)s)',
    )
    add_options_argument(parser)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    # The report at the end needs it.
    require('jinja2', 'analysis')
    from mmseg_encnet.workbench.converters.own.command import print_warnings, problems_listed
    from mmseg_encnet.workbench.converters.own.conversion import Converted
    from mmseg_encnet.workbench.finetuning import finetune

    def report(data: Converted) -> None:
        print(data.summary.text())
        print_warnings(data.summary.warnings)

    with problems_listed():
        outcome = finetune(
            args.data,
            args.out_dir,
            args.iterations,
            args.cfg_options,
            *from_arguments(args),
            args.weights,
            report,
        )
    for sentence in outcome.missing:
        print(f'missing: {sentence}', file=sys.stderr)
    print(
        f'best mIoU on the validation images: {outcome.best:.1f} % (started from {outcome.start}, '
        f'stopped after iteration {outcome.iterations})'
    )
    print(f'report: {outcome.report}')
    print(f'predictions and context sheets: {outcome.sheets}')
    print(f'use it: python tools/infer.py {outcome.config} {outcome.checkpoint} PHOTOS')


if __name__ == '__main__':
    main()
