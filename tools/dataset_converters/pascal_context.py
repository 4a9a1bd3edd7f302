"""Convert Pascal Context."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import command, pascal_context


@program(partial(command.parse_args, pascal_context.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(pascal_context.CONVERTER, args)


if __name__ == '__main__':
    main()
