"""Benchmark a training step and inference of EncNet against MMSegmentation's own head."""

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
    parser.add_argument(
        '--config',
        default='encnet_r50_ade20k',
        help='config with an EncodingHead (default: %(default)s)',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(480, 480),
        metavar=('HEIGHT', 'WIDTH'),
        help='image size in pixels (default: 480 480)',
    )
    parser.add_argument(
        '--batch', type=int, default=2, help='images in a training step (default: %(default)s)'
    )
    parser.add_argument(
        '--steps', type=int, default=3, help='timed steps of every process (default: %(default)s)'
    )
    parser.add_argument('--classes', type=int, help="number of classes (default: the config's)")
    parser.add_argument(
        '--amp', choices=('float16', 'bfloat16'), help='mixed precision (default: float32)'
    )
    add_benchmark_arguments(parser, rounds=3)
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    import torch

    from mmseg_encnet.workbench.benchmarks import model, model_report
    from mmseg_encnet.workbench.memory.plan import plan_contenders

    size = tuple(args.size)
    device = chosen_device(args).type
    threads = torch.get_num_threads()
    case = model.Case(*size, args.batch, threads, device, args.steps, args.amp, args.classes)
    results = model.run(args.config, case, args.rounds)
    if device != 'cpu' and args.amp is None and args.classes is None:
        results['planned'] = plan_contenders(args.config, args.batch, size)
    write_results(args, results, model_report.markdown, model_report.plot)


if __name__ == '__main__':
    main()
