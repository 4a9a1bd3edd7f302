"""Train a config."""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments, add_run_arguments
from mmseg_encnet.configuration.resume_options import add_resume_arguments
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_resume_arguments(parser)
    parser.add_argument(
        '--max-hours',
        type=float,
        metavar='H',
        help='stop after H hours with a checkpoint and exit status 75; continue with --resume',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='compute the same bits in every run, also on a GPU, where it is slower',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='after training, write the weights of the best checkpoint, or of the last one without '
        'save_best, to this file, ending in .safetensors or .pth',
    )
    add_run_arguments(parser)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.configuration.switches import (
        use_deterministic_algorithms,
        use_mixed_precision,
    )
    from mmseg_encnet.resuming.find import resume_training
    from mmseg_encnet.resuming.options import change_run
    from mmseg_encnet.running.hooks.stop_hook import limit_hours
    from mmseg_encnet.running.processes import run_training

    options = {**args.cfg_options, **args.override.entries}
    cfg = load_config(args.config, options, args.work_dir, args.launcher)
    if args.resume:
        resume_training(cfg)
    accepted_changes = change_run(cfg, args.override, args.extend_to, args.resume)
    if args.max_hours is not None:
        limit_hours(cfg, args.max_hours)
    if args.amp:
        use_mixed_precision(cfg)
    if args.deterministic:
        use_deterministic_algorithms(cfg)
    run_training(cfg, args.out, accepted_changes)


if __name__ == '__main__':
    main()
