"""Train a config."""

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments, add_run_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.switches import use_mixed_precision
from mmseg_encnet.resuming.find import resume_training
from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.running.processes import run_training


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--resume', action='store_true', help='continue from the last checkpoint in the work dir'
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='after training, write the weights of the best checkpoint, or of the last one without '
        'save_best, to this file, ending in .safetensors or .pth',
    )
    add_run_arguments(parser)
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    if args.resume:
        resume_training(cfg)
    if args.amp:
        use_mixed_precision(cfg)
    run_training(cfg, args.out)


if __name__ == '__main__':
    main()
