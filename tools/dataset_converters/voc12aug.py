"""Convert Pascal VOC 2012 with the labels of SBD."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import command, voc12aug


@program(partial(command.parse_args, voc12aug.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(voc12aug.CONVERTER, args)


if __name__ == '__main__':
    main()
