"""Draw images and labels of a config's data set as training uses them, with a legend."""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--split', default='train', help='train, val or test (default: %(default)s)'
    )
    parser.add_argument(
        '--count', type=int, default=8, help='number of images (default: %(default)s)'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the selection and of the augmentation (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='.png file for one figure, or folder for one figure per image '
        '(default: WORK_DIR/samples_SPLIT.png)',
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.workbench.inspection.label_grid import draw_samples
    from mmseg_encnet.workbench.inspection.split import InspectedSplit

    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / f'samples_{args.split}.png'
    samples = InspectedSplit(cfg, args.split).samples(args.count, args.seed)
    draw_samples(samples, out)
    print(f'drew {len(samples)} of {len(samples.dataset)} images to {out}')


if __name__ == '__main__':
    main()
