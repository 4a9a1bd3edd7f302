"""Count what the labels of a config's data set hold: class frequency, classes per image and
class co-occurrence."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmseg_encnet.configuration.command_line import add_config_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.inspection import statistics_plots
from mmseg_encnet.workbench.inspection.dataset_inspection import InspectedSplit


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', default='train', help='train, val or test (%(default)s)')
    parser.add_argument(
        '--jobs', type=int, default=os.cpu_count(), help='processes that read labels (%(default)s)'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for pictures and statistics.json; WORK_DIR/statistics_SPLIT if not given',
    )
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / f'statistics_{args.split}'
    if out.exists() and not out.is_dir():
        raise UserError(f'--out {out} came, which is a file; expected a folder.')
    labels = InspectedSplit(cfg, args.split).labels()
    statistics = labels.statistics(args.jobs)
    title = f'{type(labels.dataset).__name__}, {args.split} split'
    statistics_plots.plot_frequency(statistics, title, out / 'frequency.png')
    statistics_plots.plot_classes_per_image(statistics, title, out / 'classes_per_image.png')
    statistics_plots.plot_co_occurrence(statistics, title, out / 'co_occurrence.png')
    statistics.write(out / 'statistics.json')
    print(
        f'{statistics.images} images, {statistics.classes_per_image:.2f} of '
        f'{len(labels.classes)} classes in each; pictures and statistics.json in {out}'
    )


if __name__ == '__main__':
    main()
