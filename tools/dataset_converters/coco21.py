"""Convert COCO with the 21 classes of VOC."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import coco21, command


@program(partial(command.parse_args, coco21.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(coco21.CONVERTER, args)


if __name__ == '__main__':
    main()
