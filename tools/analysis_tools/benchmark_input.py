"""Benchmark the input pipelines: augmented samples per second on one core, by data set."""

from __future__ import annotations

import argparse

from mmseg_encnet.running.explain import exit_with_one_sentence
from mmseg_encnet.workbench.benchmarks import input as benchmark
from mmseg_encnet.workbench.benchmarks import input_report
from mmseg_encnet.workbench.benchmarks.command import add_result_arguments, write_results


@exit_with_one_sentence
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_result_arguments(parser, rounds=15)
    args = parser.parse_args()
    results = benchmark.run(rounds=args.rounds)
    write_results(args, results, input_report.markdown, input_report.plot)


if __name__ == '__main__':
    main()
