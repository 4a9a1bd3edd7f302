"""Serve a web page that segments uploaded photographs and shows the context used by the model.

The page shows the prediction, the class presence, the codewords and the gated channels. The cursor
shows class and codeword of a pixel, and a presence threshold removes classes. The page loads
nothing from the internet and only accepts connections from this machine unless --host is given.
"""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import (
    CHECKPOINT_HELP,
    add_options_argument,
    add_pixel_limit,
    add_runtime_arguments,
)
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        nargs='?',
        default='encnet_lite0_msrc21',
        help='config file, or name of a shipped config (default: %(default)s)',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        default='pretrained',
        help=f'{CHECKPOINT_HELP} (default: %(default)s)',
    )
    add_options_argument(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 accepts other machines (default: %(default)s)',
    )
    parser.add_argument(
        '--port', type=int, default=7860, help='port to listen on (default: %(default)s)'
    )
    parser.add_argument(
        '--allowed-host',
        action='append',
        default=[],
        metavar='NAME',
        help='further name by which browsers may reach the page, for example that of a proxy; can '
        'be repeated',
    )
    add_pixel_limit(parser, 2**26)
    add_runtime_arguments(parser)
    parser.add_argument(
        '--device', help='device such as cpu or cuda:0 (default: a GPU if available)'
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.predicting import load_segmentor

    # Imported here because gradio is an optional dependency.
    from mmseg_encnet.workbench.demo_page.server import serve, until_stopped

    cfg = load_config(args.config, args.cfg_options)
    segmentor = load_segmentor(
        cfg, args.checkpoint, args.device, args.max_pixels, args.runtime, args.precision
    )
    title = Path(args.config).stem
    with (
        until_stopped() as stopped,
        serve(segmentor, title, args.host, args.port, args.allowed_host) as address,
    ):
        print(f'demo page: {address} (press Ctrl+C to stop)', flush=True)
        stopped.wait()


if __name__ == '__main__':
    main()
