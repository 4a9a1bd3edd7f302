"""Benchmark the input pipelines: augmented samples per second on one core, by data set."""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse

from mmseg_encnet.program import program
from mmseg_encnet.workbench.benchmarks.command import add_result_arguments, write_results


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_result_arguments(parser, rounds=15)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.benchmarks import input as benchmark
    from mmseg_encnet.workbench.benchmarks import input_report

    results = benchmark.run(rounds=args.rounds)
    write_results(args, results, input_report.markdown, input_report.plot)


if __name__ == '__main__':
    main()
