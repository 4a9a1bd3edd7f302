"""Label photographs: one PNG an image, coloured by class, pixel values are class indices."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from mmseg_encnet.engine import inference, launch
from mmseg_encnet.engine.explain import exit_with_one_sentence


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    launch.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('inputs', nargs='+', help='image files, folders of images')
    parser.add_argument('--out-dir', type=Path, default=Path('predictions'),
                        help='folder for the results (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda:0 ...; a GPU if there is one, if not given')
    return parser.parse_args()


@exit_with_one_sentence
def main() -> int:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options)
    images = inference.find_images(args.inputs)
    segmentor = inference.load_segmentor(cfg, args.checkpoint, args.device)
    results = inference.write_predictions(segmentor, images, args.out_dir)
    errors = [error for error in tqdm(results, total=len(images), unit='image') if error]
    print(f'{len(images) - len(errors)} of {len(images)} images written to {args.out_dir}')
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    return 1 if errors else 0


if __name__ == '__main__':
    main()
