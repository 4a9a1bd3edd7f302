"""Measure the encoding operator: time, memory and growth of every contender, in one run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmseg_encnet.workbench.benchmarks import encode, encode_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, help='CPU threads (default: what torch takes)')
    parser.add_argument('--rounds', type=int, default=15, help='repetitions; medians are shown')
    parser.add_argument('--json', type=Path, help='write all figures to this file')
    parser.add_argument('--markdown', type=Path, help='write the tables to this file')
    parser.add_argument('--plot', type=Path, help='draw to this file, e.g. encode.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    results = encode.run(torch.device(args.device), rounds=args.rounds, progress=tqdm)
    table = Table(*encode_report.COLUMNS, caption=encode_report.machine_line(results))
    for row in encode_report.table_rows(results):
        table.add_row(*row)
    console = Console()
    console.print(table)
    for row in results['presence']:
        console.print(f'{row["contender"]}: {row["ms"]:.3g} ms for 16 x 480 x 480 labels')
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))
    if args.markdown:
        args.markdown.write_text(encode_report.markdown(results) + '\n')
    if args.plot:
        encode_report.plot(results, args.plot)


if __name__ == '__main__':
    main()
