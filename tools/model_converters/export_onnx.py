"""Export a trained EncNet to ONNX for images of any size and compare it with PyTorch."""

import argparse
from pathlib import Path

from tqdm import tqdm

from mmseg_encnet import predicting
from mmseg_encnet.configuration.command_line import CHECKPOINT_HELP, add_config_arguments
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.disk import check_file
from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import FoldedEncNet, onnx
from mmseg_encnet.running.explain import exit_with_one_sentence

SIZES = [(32, 32), (97, 131), (128, 256), (256, 128), (480, 480)]
TOLERANCE = 1e-4


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument('out', type=Path, help='ONNX file to write')
    return parser.parse_args()


@exit_with_one_sentence
def main() -> int:
    args = parse_args()
    check_file(args.out)
    cfg = load_config(args.config, args.cfg_options)
    reason = onnx.refusal(cfg.model)
    if reason:
        raise UserError(
            f'{args.config} cannot be exported for images of any size: {reason}; choose a config '
            'that docs/model_zoo.md lists as exportable.'
        )
    segmentor = predicting.load_segmentor(cfg, args.checkpoint, 'cpu')
    model = FoldedEncNet(segmentor.model)
    # No file under the final name unless it agrees with PyTorch.
    aside = args.out.with_name(f'{args.out.name}.unchecked')
    try:
        onnx.export_onnx(model, aside, segmentor.classes, segmentor.palette)
        worst = _compare(model, aside)
        agrees = worst <= TOLERANCE
        if agrees:
            aside.replace(args.out)
    finally:
        aside.unlink(missing_ok=True)
    print(
        f'{args.out}: {"agrees with" if agrees else "not written, because it DIFFERS from"} '
        f'PyTorch ({worst:.1e}, tolerance {TOLERANCE:.0e})'
    )
    return 0 if agrees else 1


def _compare(model: FoldedEncNet, path: Path) -> float:
    """Print the agreement for each size and return the largest difference."""
    worst = 0.0
    for result in tqdm(
        onnx.compare_with_pytorch(model, path, SIZES), total=len(SIZES), unit='size'
    ):
        worst = max(worst, result.difference)
        tqdm.write(
            f'{result.size[0]}x{result.size[1]}: maximum relative difference '
            f'{result.difference:.1e}, {result.same_labels:.2%} of labels equal'
        )
    return worst


if __name__ == '__main__':
    main()
