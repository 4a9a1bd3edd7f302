"""Train a config."""

import argparse

from mmseg_encnet.engine import launch
from mmseg_encnet.engine.explain import exit_with_one_sentence


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    launch.add_config_arguments(parser)
    parser.add_argument('--resume', action='store_true',
                        help='continue from the last checkpoint in the work dir')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    launch.add_run_arguments(parser)
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    if args.resume:
        launch.resume_training(cfg)
    if args.amp:
        launch.use_mixed_precision(cfg)
    launch.run_training(cfg)


if __name__ == '__main__':
    main()
