"""Pack a trained network with an EfficientNet-Lite backbone into a small file.

The file contains the heads in half precision, and the differences of the backbone from its ImageNet
weights as eight-bit integers. mmseg_encnet/weights contains such files.
"""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.disk import check_file
from mmseg_encnet.errors import UserError
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=Path, help='file to write, ending in .safetensors')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.checkpoints.files import read_checkpoint
    from mmseg_encnet.checkpoints.packages import SCHEME
    from mmseg_encnet.checkpoints.shipped_weights import write_packed
    from mmseg_encnet.checkpoints.tensor_files import SUFFIX
    from mmseg_encnet.configuration.loading import load_config

    if args.out.suffix != SUFFIX:
        raise UserError(f'got the file {args.out} to write, expected one that ends in {SUFFIX}.')
    check_file(args.out)
    cfg = load_config(args.config, args.cfg_options)
    weights = (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint', '')
    if not weights.startswith(SCHEME):
        raise UserError(
            f'got a config whose backbone starts from {weights or "random weights"}, expected '
            f'weights of {SCHEME}; use the config of an EfficientNet-Lite.'
        )
    state_dict, meta = read_checkpoint(args.checkpoint)
    if 'dataset_meta' not in meta:
        raise UserError(
            f'checkpoint {args.checkpoint} does not contain the names of the classes; use a '
            'checkpoint written by tools/train.py.'
        )
    write_packed(args.out, state_dict, weights.removeprefix(SCHEME), meta['dataset_meta'])
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
