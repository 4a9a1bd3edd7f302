"""Benchmark the encoding operator: time, memory and scaling of every backend."""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse

from mmseg_encnet.program import program
from mmseg_encnet.workbench.benchmarks.command import (
    add_benchmark_arguments,
    chosen_device,
    write_results,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_benchmark_arguments(parser, rounds=15)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.benchmarks import encode, encode_report

    results = encode.run(chosen_device(args), rounds=args.rounds)
    write_results(args, results, encode_report.markdown, encode_report.plot)


if __name__ == '__main__':
    main()
