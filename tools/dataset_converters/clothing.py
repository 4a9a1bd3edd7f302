"""Convert Clothing Co-Parsing."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import clothing, command


@program(partial(command.parse_args, clothing.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(clothing.CONVERTER, args)


if __name__ == '__main__':
    main()
