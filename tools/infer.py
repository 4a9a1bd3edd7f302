"""Predict images and videos and write one PNG per image whose pixel values are class indices.

Viewers show the PNGs in the colours of the classes. The output keeps the folder structure of the
inputs. predictions.jsonl has one line per image: its size, the areas of the classes and, if the
model predicts it, the probability that each class is present. A video becomes a folder of PNGs, one
per frame, and a video blended with the colours of the classes.
"""

__mmseg_encnet_tool__ = True

import argparse
import sys
from pathlib import Path

from mmseg_encnet.configuration.command_line import (
    CHECKPOINT_HELP,
    add_config_arguments,
    add_pixel_limit,
    add_runtime_arguments,
    positive_integer,
)
from mmseg_encnet.program import program
from mmseg_encnet.values import MAX_PIXELS

# Images per second, also where tqdm would show seconds per image.
PROGRESS = '{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument(
        'inputs',
        nargs='+',
        help='image files, folders of images, videos or patterns in quotes such as '
        "'photos/**/*.jpg'",
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('predictions'),
        help='output folder (default: %(default)s)',
    )
    parser.add_argument(
        '--overlays',
        action='store_true',
        help='also write the images blended with the colours of their classes',
    )
    parser.add_argument(
        '--sheets',
        action='store_true',
        help='also write a context sheet for each image',
    )
    parser.add_argument(
        '--presence-threshold',
        type=float,
        metavar='P',
        help='suppress classes whose predicted presence is below this probability',
    )
    parser.add_argument(
        '--batch-size',
        type=positive_integer,
        metavar='N',
        help='predict up to N images of equal size together (default: 1 on the CPU, 8 on a GPU)',
    )
    add_pixel_limit(parser, MAX_PIXELS)
    add_runtime_arguments(parser)
    parser.add_argument(
        '--device', help='device such as cpu or cuda:0 (default: a GPU if available)'
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mmseg_encnet import predicting
    from mmseg_encnet.configuration.loading import load_config

    cfg = load_config(args.config, args.cfg_options)
    if args.presence_threshold is not None:
        predicting.suppress_absent_classes(cfg, args.presence_threshold)
    suffixes = predicting.image_suffixes(cfg)
    entries = predicting.find_inputs(args.inputs, args.out_dir, suffixes, args.max_pixels)
    segmentor = predicting.load_segmentor(
        cfg, args.checkpoint, args.device, args.max_pixels, args.runtime, args.precision
    )
    total = sum(entry.num_images for entry in entries)
    with (
        predicting.PredictionWriter(args.out_dir, segmentor, args.overlays, args.sheets) as writer,
        predicting.Throughput() as throughput,
    ):
        results = predicting.write_predictions(segmentor, entries, writer, args.batch_size)
        progress = tqdm(results, total=total, unit=' images', bar_format=PROGRESS)
        errors = [error for error in progress if error]
    print(
        f'{total - len(errors)} of {total} images written to {args.out_dir} '
        f'({throughput.rate(total):.3g} images/s)'
    )
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    return 1 if errors else 0


if __name__ == '__main__':
    main()
