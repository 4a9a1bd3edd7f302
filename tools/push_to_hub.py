"""Publish a trained network on the Hugging Face Hub, with a model card written from its run.

The network is evaluated on the test set of the config for the card. Log in first with
`hf auth login`, or set HF_TOKEN.
"""

__mmseg_encnet_tool__ = True

import argparse
import sys
import tempfile
from pathlib import Path

from mmseg_encnet.configuration.command_line import CHECKPOINT_HELP, add_config_arguments
from mmseg_encnet.extras import require
from mmseg_encnet.program import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument('repo', help='repository, such as USER/NAME; it is created if needed')
    parser.add_argument(
        '--folder',
        type=Path,
        help='keep the published files in this folder; a README.md in it is kept as the model card',
    )
    parser.add_argument(
        '--folder-only',
        action='store_true',
        help='only write the folder, by default NAME in the current one, and publish nothing',
    )
    parser.add_argument('--private', action='store_true', help='create a private repository')
    parser.add_argument(
        '--license',
        default='other',
        metavar='ID',
        help="licence of the weights by the hub's identifier, such as apache-2.0 "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--no-evaluation', action='store_true', help='write a model card without results'
    )
    parser.add_argument(
        '--sheet',
        nargs='?',
        const='',
        metavar='IMAGE',
        help='show a context sheet of this image in the card, or of the first test image; check '
        'that you may publish it',
    )
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.configuration.loading import load_config
    from mmseg_encnet.hub import push_folder

    require('safetensors', 'hub')
    if not args.folder_only:
        require('huggingface_hub', 'hub')
    # After the check of the packages, because it loads matplotlib.
    from mmseg_encnet.workbench.publishing import write_folder

    cfg = load_config(args.config, args.cfg_options)
    name = args.repo.rstrip('/').rpartition('/')[2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(name if args.folder_only else temporary)
        missing = write_folder(
            cfg,
            args.checkpoint,
            folder,
            name=name,
            license=args.license,
            evaluate=not args.no_evaluation,
            sheet=args.sheet,
        )
        for sentence in missing:
            print(f'missing from the model card: {sentence}', file=sys.stderr)
        if args.folder_only:
            print(f'folder: {folder}')
        else:
            print(push_folder(folder, args.repo, private=args.private or None))


if __name__ == '__main__':
    main()
