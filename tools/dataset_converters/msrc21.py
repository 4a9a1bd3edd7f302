"""Convert MSRC-21."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import command, msrc21


@program(partial(command.parse_args, msrc21.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(msrc21.CONVERTER, args)


if __name__ == '__main__':
    main()
