"""Compute statistics of a config's data set.

Class frequency, classes per image and class co-occurrence, and with --images the mean, standard
deviation, range and percentiles of every channel, with a config file for the normalisation.
"""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse
import os
import sys
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--split', default='train', help='train, val or test (default: %(default)s)'
    )
    parser.add_argument(
        '--images',
        action='store_true',
        help='read the images, too; write channels.json and normalisation.py',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='number of processes (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for the figures and statistics.json (default: WORK_DIR/statistics_SPLIT)',
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.workbench.inspection.channel_statistics import measure_channels
    from mmseg_encnet.workbench.inspection.split import InspectedSplit, occurrence
    from mmseg_encnet.workbench.inspection.statistics_plots import write_statistics

    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / f'statistics_{args.split}'
    if args.images:
        channels = measure_channels(cfg, args.split, args.jobs)
        channels.write(out)
        print(channels.text())
        for warning in channels.warnings:
            print(f'warning: {warning}', file=sys.stderr)
    labels = InspectedSplit(cfg, args.split).labels()
    statistics = write_statistics(labels, args.jobs, out)
    absent = occurrence(labels, statistics).absent(args.split)
    if absent:
        print(f'warning: {absent}', file=sys.stderr)
    print(
        f'{statistics.images} images with {statistics.classes_per_image:.2f} of '
        f'{len(labels.classes)} classes on average; wrote figures and statistics.json to {out}'
    )
    weights = statistics.content()['class_weight']
    print(f'for rare classes: loss_decode=dict(class_weight={weights})')


if __name__ == '__main__':
    main()
