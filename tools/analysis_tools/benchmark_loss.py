"""Benchmark the cross-entropy at the size of the labels: time and memory of every backend."""

from __future__ import annotations

import argparse

from mmseg_encnet.workbench.benchmarks import loss, loss_report
from mmseg_encnet.workbench.benchmarks.command import add_benchmark_arguments, write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_benchmark_arguments(parser, rounds=15)
    args = parser.parse_args()
    # Importing it takes seconds, in which the package handles signals.
    import torch

    torch.set_num_threads(args.threads)
    results = loss.run(torch.device(args.device), rounds=args.rounds)
    write_results(args, results, loss_report.markdown, loss_report.plot)


if __name__ == '__main__':
    main()
