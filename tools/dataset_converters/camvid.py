"""Convert CamVid."""

__mmseg_encnet_tool__ = True

import argparse
from functools import partial

from mmseg_encnet.program import program
from mmseg_encnet.workbench.converters import camvid, command


@program(partial(command.parse_args, camvid.CONVERTER))
def main(args: argparse.Namespace) -> None:
    command.convert(camvid.CONVERTER, args)


if __name__ == '__main__':
    main()
