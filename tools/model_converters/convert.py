"""Convert an EncNet checkpoint of PyTorch-Encoding, FastFCN or MMSegmentation to our format.

The framework is detected from the file. ImageNet backbones of PyTorch-Encoding are converted, too.
"""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.disk import check_file
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'src', help='checkpoint to read, the zip file in which it was published, or its address'
    )
    parser.add_argument(
        'dst', type=Path, help='checkpoint to write, ending in .pth or .safetensors'
    )
    parser.add_argument('--verbose', action='store_true', help='list every entry')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.checkpoints import convert_checkpoint

    check_file(args.dst)
    conversion = convert_checkpoint(args.src, args.dst)
    for line in conversion.report(args.verbose):
        print(line)
    print(f'wrote {args.dst}')


if __name__ == '__main__':
    main()
