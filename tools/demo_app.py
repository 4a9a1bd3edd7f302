"""Open a page in which a dropped photograph is labelled, with the context that the model sees.

The page shows the prediction, the presence of the classes, the codewords and the gated channels;
the cursor names class and codeword of a pixel, and a threshold on the presence removes classes.
Nothing is fetched from the internet, and no other machine reaches the page unless --host says so.
"""

import argparse
from pathlib import Path

from mmseg_encnet import predicting as inference
from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.explain import exit_with_one_sentence


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at; 0.0.0.0 lets other machines in (%(default)s)',
    )
    parser.add_argument('--port', type=int, default=7860, help='port to listen at (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda:0 ...; a GPU if there is one, if not given')
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    # Gradio is an extra.
    from mmseg_encnet.workbench.demo_page.page import build_page, open_page

    cfg = load_config(args.config, args.cfg_options)
    segmentor = inference.load_segmentor(cfg, args.checkpoint, args.device)
    page = build_page(segmentor, Path(args.config).stem)
    print(f'demo page: {open_page(page, args.host, args.port)} (Ctrl+C ends it)', flush=True)
    page.block_thread()


if __name__ == '__main__':
    main()
