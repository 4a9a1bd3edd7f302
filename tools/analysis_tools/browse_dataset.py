"""Draw images and labels of a config's data set as training gets them, with a legend."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.inspection.dataset_inspection import InspectedSplit
from mmseg_encnet.workbench.inspection.label_grid import draw_label_grid


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', default='train', help='train, val or test (%(default)s)')
    parser.add_argument('--count', type=int, default=8, help='number of images (%(default)s)')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the choice and of the augmentation (%(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='a .png file for one sheet, or a folder for one '
        'picture an image; WORK_DIR/samples_SPLIT.png if not given',
    )
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / f'samples_{args.split}.png'
    one_sheet = out.suffix.lower() == '.png'
    if out.suffix and not one_sheet and not out.is_dir():
        raise UserError(f'--out {out} came, expected a file that ends in .png or a folder.')
    samples = InspectedSplit(cfg, args.split).samples(args.count, args.seed)
    drawn = tqdm(samples, unit='image')
    dataset = type(samples.dataset).__name__
    title = f'{dataset}, {args.split} split, after its pipeline'
    if one_sheet:
        draw_label_grid(list(drawn), samples.classes, samples.palette, title, out)
    else:
        for number, sample in enumerate(drawn):
            draw_label_grid(
                [sample],
                samples.classes,
                samples.palette,
                title,
                out / f'{number:04d}_{Path(sample.name).stem}.png',
            )
    print(f'{len(samples)} of the {len(samples.dataset)} images drawn to {out}')


if __name__ == '__main__':
    main()
