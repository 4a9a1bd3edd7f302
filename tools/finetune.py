"""Train a network on your own photographs, starting from one that ships.

DATA_DIR contains images/ and labels/, or images/train, labels/train, images/val and labels/val. A
label is a PNG file with the name of its image; its values are class indices, or 255 for ignored
pixels. classes.txt lists the class names, one per line. Twenty labelled photographs are a start.
"""

import argparse
import sys
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_options_argument
from mmseg_encnet.extras import require
from mmseg_encnet.running.explain import exit_with_one_sentence


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
    parser.add_argument(
        '--weights',
        default='model.pth',
        metavar='NAME',
        help='name of the best checkpoint in the output folder; with the ending .safetensors it '
        'contains the weights and classes alone (default: %(default)s)',
    )
    add_options_argument(parser)
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    # The report at the end needs it.
    require('jinja2', 'analysis')
    from mmseg_encnet.workbench.finetuning import finetune, read_own_data

    data = read_own_data(args.data)
    print(
        f'{len(data.train.names)} images for training, {len(data.val.names)} for validation, '
        f'{len(data.classes)} classes'
    )
    outcome = finetune(data, args.out_dir, args.iterations, args.cfg_options, args.weights)
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
