"""Export a trained EncNet and compare the file with PyTorch.

The suffix of OUT chooses the format: .onnx, .xml (OpenVINO, which writes a .bin beside it), .pt2 (a
program of torch.export) or .torchscript. The file accepts images of any size unless --size is
given, and describes its input and outputs.
"""

__mmseg_encnet_tool__ = True

import argparse
from pathlib import Path

from mmseg_encnet.configuration.command_line import (
    CHECKPOINT_HELP,
    EXPORT_FORMATS,
    add_config_arguments,
)
from mmseg_encnet.disk import check_file
from mmseg_encnet.errors import UserError
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument(
        '--format', choices=EXPORT_FORMATS, help='format, if the suffix of OUT is another'
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='export for images of this size only, in pixels',
    )
    parser.add_argument('--gate', action='store_true', help='also output the gate of the channels')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mmseg_encnet import predicting
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.exporting import Agreement, FoldedEncNet, export, refusal
    from mmseg_encnet.exporting.description import SMALLEST
    from mmseg_encnet.exporting.formats import format_of

    size = tuple(args.size) if args.size else None
    if size and min(size) < SMALLEST:
        raise UserError(
            f'got --size {size[0]} {size[1]}, expected at least {SMALLEST} pixels per side.'
        )
    check_file(args.out)
    format_of(args.out, args.format).check_installed()
    cfg = load_config(args.config, args.cfg_options)
    reason = refusal(cfg.model, size)
    if reason:
        raise UserError(f'{args.config} cannot be exported: {reason}.')
    segmentor = predicting.load_segmentor(cfg, args.checkpoint, 'cpu')
    differences = []

    def show(result: Agreement) -> None:
        differences.append(result.difference)
        tqdm.write(
            f'{result.size[0]}x{result.size[1]}: maximum relative difference '
            f'{result.difference:.1e}, {result.same_labels:.2%} of labels equal'
        )

    agrees = export(
        FoldedEncNet(segmentor.model, args.gate),
        args.out,
        segmentor.classes,
        segmentor.palette,
        format=args.format,
        size=size,
        resize=segmentor.resize,
        progress=show,
    )
    print(
        f'{args.out}: {"agrees with" if agrees else "not written, because it DIFFERS from"} '
        f'PyTorch ({max(differences):.1e}, tolerance 1e-04)'
    )
    return 0 if agrees else 1


if __name__ == '__main__':
    main()
