"""Benchmark the encoding operator: time, memory and scaling of every backend."""

from __future__ import annotations

import argparse

from mmseg_encnet.workbench.benchmarks import encode, encode_report
from mmseg_encnet.workbench.benchmarks.command import add_benchmark_arguments, write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_benchmark_arguments(parser, rounds=15)
    args = parser.parse_args()
    # Importing it takes seconds, in which the package handles signals.
    import torch

    torch.set_num_threads(args.threads)
    results = encode.run(torch.device(args.device), rounds=args.rounds)
    write_results(args, results, encode_report.markdown, encode_report.plot)


if __name__ == '__main__':
    main()
