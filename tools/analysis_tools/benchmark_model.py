"""Measure a whole EncNet, training step and inference, against the toolbox's own head."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.benchmarks import model, model_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--config', default='encnet_r50_ade20k', help='a config with an EncodingHead (%(default)s)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(480, 480), metavar=('HEIGHT', 'WIDTH')
    )
    parser.add_argument('--batch', type=int, default=2, help='images in a training step')
    parser.add_argument('--rounds', type=int, default=5, help='repetitions; medians are shown')
    parser.add_argument('--json', type=Path, help='write all figures to this file')
    parser.add_argument('--markdown', type=Path, help='write the table to this file')
    parser.add_argument('--plot', type=Path, help='draw to this file, e.g. model.png')
    return parser.parse_args()


@exit_with_one_sentence
def main() -> None:
    args = parse_args()
    case = model.Case(*args.size, args.batch, args.threads, args.device)
    processes = len(model.TASKS) * len(model.CONTENDERS) * args.rounds
    with tqdm(total=processes, unit='process') as bar:
        measurements = list(
            model.measure(load_config(args.config).model, case, args.rounds, bar.update)
        )
    results = model_report.collect(args.config, case, measurements)
    table = Table(*model_report.COLUMNS, caption=model_report.caption(results))
    for row in model_report.table_rows(results):
        table.add_row(*row)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))
    if args.markdown:
        args.markdown.write_text(model_report.markdown(results) + '\n')
    if args.plot:
        model_report.plot(results, args.plot)


if __name__ == '__main__':
    main()
