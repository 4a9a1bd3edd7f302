"""Print the memory that a config needs on one GPU, without allocating it."""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.program import program
from mmseg_encnet.workbench.memory import HEADS

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'memory.md'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', help='name or path of a config')
    parser.add_argument('--batch', type=int, help="images on the GPU (default: the config's)")
    parser.add_argument(
        '--crop',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="size of the images in pixels (default: the config's)",
    )
    parser.add_argument('--classes', type=int, help="number of classes (default: the config's)")
    parser.add_argument(
        '--head',
        choices=tuple(HEADS),
        default='own',
        help="EncodingHead, or the toolbox's EncHead in its place (default: %(default)s)",
    )
    parser.add_argument(
        '--kept',
        action='store_true',
        help='print what a training step keeps for its backward pass, by part and operation, with '
        "the toolbox's head and with each value of the backbone's option recompute",
    )
    parser.add_argument(
        '--page', action='store_true', help='write docs/memory.md, the table of all shipped configs'
    )
    args = parser.parse_args()
    if args.config is None and not args.page:
        parser.error('the following arguments are required: config (or --page)')
    return args


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.workbench.benchmarks.model import with_classes
    from mmseg_encnet.workbench.memory import kept
    from mmseg_encnet.workbench.memory.plan import plan_memory, with_head
    from mmseg_encnet.workbench.memory.report import markdown, write_page

    if args.page:
        PAGE.write_text(write_page(), encoding='utf-8')
        print(f'page: {PAGE}')
        return
    cfg = load_config(args.config)
    if args.classes is not None:
        cfg.model = with_classes(cfg.model, args.classes)
    if args.kept:
        print(kept.markdown(cfg, args.batch, args.crop))
    else:
        cfg = with_head(cfg, args.head)
        print(markdown(plan_memory(cfg, args.batch, args.crop)))


if __name__ == '__main__':
    main()
