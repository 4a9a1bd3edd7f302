"""Convert COCO-Stuff 164k."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import cocostuff164k, command


@program(partial(command.parse_args, cocostuff164k.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(cocostuff164k.CONVERTER, args)


if __name__ == '__main__':
    main()
