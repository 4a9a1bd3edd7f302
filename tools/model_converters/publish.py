"""Write the weights and class names of a checkpoint, without optimizer and other training state.

The file is smaller, contains no path of this machine, and cannot be resumed from. tools/test.py,
tools/infer.py, the export, load_from and init_cfg read it like any other checkpoint.
"""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='checkpoint file or its address')
    parser.add_argument('out', type=Path, help='file to write, ending in .safetensors or .pth')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.checkpoints.publishing import publish_checkpoint

    publish_checkpoint(args.checkpoint, args.out)
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
