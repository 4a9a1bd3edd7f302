"""Command-line arguments that the benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmseg_encnet.disk import check_file
from mmseg_encnet.workbench.formatting import strict_json

if TYPE_CHECKING:
    import torch


def output_file(name: str) -> Path:
    """Return the path of a file to write, before the measurements that go into it.

    Raises:
        UserError: It cannot be written.
    """
    check_file(name)
    return Path(name)


def add_benchmark_arguments(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Add arguments for the device, the repetitions (by default ``rounds``) and the files."""
    parser.add_argument('--device', help='cpu or cuda (default: cuda if available)')
    parser.add_argument(
        '--threads',
        type=int,
        help='number of CPU threads (default: as many as PyTorch uses)',
    )
    add_result_arguments(parser, rounds)


def add_result_arguments(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Add arguments for the repetitions (by default ``rounds``) and the files."""
    parser.add_argument(
        '--rounds',
        type=int,
        default=rounds,
        help='repetitions, of which the median is reported (default: %(default)s)',
    )
    parser.add_argument('--json', type=output_file, help='write all measurements to this file')
    parser.add_argument('--markdown', type=output_file, help='write the tables to this file')
    parser.add_argument(
        '--plot', type=output_file, help='write the figure to this file, e.g. out.png'
    )


def chosen_device(args: argparse.Namespace) -> torch.device:
    """Set the number of threads, and return the device of :func:`add_benchmark_arguments`."""
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))


def write_results(
    args: argparse.Namespace,
    results: dict[str, Any],
    markdown: Callable[[dict[str, Any]], str],
    plot: Callable[[dict[str, Any], Path], None],
) -> None:
    """Print the results as Markdown and write the files of :func:`add_result_arguments`."""
    text = markdown(results)
    print(text)
    if args.json:
        args.json.write_text(strict_json(results, indent=2), encoding='utf-8')
    if args.markdown:
        args.markdown.write_text(text + '\n', encoding='utf-8')
    if args.plot:
        plot(results, args.plot)
