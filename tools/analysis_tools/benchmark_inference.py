"""Benchmark inference of EncNet with each runtime and precision against MMSegmentation's own."""

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
        help='config with an EncodingHead on a dilated backbone (default: %(default)s)',
    )
    parser.add_argument(
        '--jpu-config',
        default='encnet_r50_jpu_ade20k',
        help='config with an EncodingHead on JPU (default: %(default)s)',
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
        '--steps', type=int, default=3, help='timed images of every process (default: %(default)s)'
    )
    parser.add_argument(
        '--quick', action='store_true', help='one round of one image of 128x128 pixels'
    )
    add_benchmark_arguments(parser, rounds=5)
    parser.set_defaults(device='cpu')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    import torch

    from mmseg_encnet.errors import UserError
    from mmseg_encnet.workbench.benchmarks import inference, inference_report

    if chosen_device(args).type != 'cpu':
        raise UserError(f'got --device {args.device}, expected cpu, on which all runtimes compute.')
    case = inference.Case(*args.size, torch.get_num_threads(), args.steps)
    if args.quick:
        case, args.rounds = inference.Case(128, 128, torch.get_num_threads(), steps=1), 1
    configs = dict(zip(inference.NETWORKS, (args.config, args.jpu_config)))
    results = inference.run(configs, case, args.rounds)
    write_results(args, results, inference_report.markdown, inference_report.plot)


if __name__ == '__main__':
    main()
