"""Label photographs and videos: one PNG a picture, its pixel values are class indices.

Viewers show the PNGs in the classes' colours. Folders keep their structure below the folder of the
results. predictions.jsonl has one line a picture: its size, the areas of the classes and, where the
model tells it, the probability that each class occurs. A video becomes a folder of PNGs, one a
frame, and a video with the classes' colours over it.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from mmseg_encnet import predicting as inference
from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.explain import exit_with_one_sentence


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'inputs',
        nargs='+',
        help='image files, folders of images, videos, and '
        "patterns in quotes such as 'photos/**/*.jpg'",
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('predictions'),
        help='folder for the results (%(default)s)',
    )
    parser.add_argument(
        '--overlays',
        action='store_true',
        help="also write the photographs with the classes' colours over them",
    )
    parser.add_argument(
        '--sheets',
        action='store_true',
        help='also draw for each picture what the context branch saw',
    )
    parser.add_argument(
        '--presence-threshold',
        type=float,
        metavar='P',
        help='label no pixel with a class that is present with a probability below this',
    )
    parser.add_argument('--device', help='cpu, cuda:0 ...; a GPU if there is one, if not given')
    return parser.parse_args()


@exit_with_one_sentence
def main() -> int:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if args.presence_threshold is not None:
        inference.suppress_absent_classes(cfg, args.presence_threshold)
    entries = inference.find_inputs(args.inputs, args.out_dir)
    segmentor = inference.load_segmentor(cfg, args.checkpoint, args.device)
    total = sum(entry.num_pictures for entry in entries)
    with inference.PredictionWriter(args.out_dir, segmentor, args.overlays, args.sheets) as writer:
        results = inference.write_predictions(segmentor, entries, writer)
        errors = [error for error in tqdm(results, total=total, unit='image') if error]
    print(f'{total - len(errors)} of {total} images written to {args.out_dir}')
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    return 1 if errors else 0


if __name__ == '__main__':
    main()
