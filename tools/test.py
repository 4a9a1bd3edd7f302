"""Evaluate a checkpoint: mIoU, pixel accuracy and the other metrics of the config."""

__mmseg_encnet_tool__ = True

import argparse

from mmseg_encnet.configuration.command_line import (
    CHECKPOINT_HELP,
    add_config_arguments,
    add_run_arguments,
    add_runtime_arguments,
)
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    scales = parser.add_mutually_exclusive_group()
    scales.add_argument(
        '--tta',
        action='store_true',
        help="average over the scales and flips of the config's tta_pipeline",
    )
    scales.add_argument(
        '--published-tta',
        action='store_true',
        help='evaluate windows at several scales and flips, as for the published results of '
        "EncNet, with the config's published_tta_model",
    )
    parser.add_argument(
        '--out', metavar='DIR', help='write predictions here, one PNG of class indices per image'
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='draw ground truth and prediction over every image, into this folder',
    )
    add_runtime_arguments(parser)
    add_run_arguments(parser)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.configuration.switches import (
        draw_predictions,
        save_predictions,
        use_test_time_augmentation,
    )
    from mmseg_encnet.running.processes import run_test

    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    if args.tta:
        use_test_time_augmentation(cfg)
    if args.published_tta:
        use_test_time_augmentation(cfg, 'published_')
    if args.out:
        save_predictions(cfg, args.out)
    if args.show_dir:
        draw_predictions(cfg, args.show_dir)
    run_test(cfg, args.checkpoint, args.runtime, args.precision)


if __name__ == '__main__':
    main()
