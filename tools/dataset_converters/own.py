"""Convert images and labels of your own."""

__mmseg_encnet_tool__ = True

import argparse

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters.own import command


@program(command.parse_args)
def main(args: argparse.Namespace) -> None:
    command.convert(args)


if __name__ == '__main__':
    main()
