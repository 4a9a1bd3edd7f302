"""Convert ADE20K."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import ade20k, command


@program(partial(command.parse_args, ade20k.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(ade20k.CONVERTER, args)


if __name__ == '__main__':
    main()
