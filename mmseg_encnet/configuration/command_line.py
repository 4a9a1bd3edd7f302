"""Command-line arguments that the tools share."""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction

from mmseg_encnet.configuration.runtimes import PRECISIONS, RUNTIMES
from mmseg_encnet.errors import UserError

CHECKPOINT_HELP = (
    "checkpoint file, its address, or 'pretrained' for the network that ships for the config"
)
# The names of mmseg_encnet.exporting.formats, which needs PyTorch.
EXPORT_FORMATS = ('onnx', 'openvino', 'torch', 'torchscript')


class _OptionsAction(DictAction):
    """The toolbox's ``KEY=VALUE`` options, with an error for anything else."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            _, equals, text = value.partition('=')
            if not equals:
                raise UserError(
                    f'got {option_string} {value}, expected KEY=VALUE; write lists as '
                    'KEY="[a,b]", without white space.'
                )
            try:
                self._parse_iterable(text)
            except (AssertionError, RecursionError):
                raise UserError(
                    f'got {option_string} {value}, expected a number, a string or a list with '
                    'matching brackets; write an entry of a dictionary as KEY.ENTRY=VALUE.'
                ) from None
        super().__call__(parser, namespace, values, option_string)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of all tools that run a config."""
    parser.add_argument('config', help='config file, or name of a shipped config')
    add_options_argument(parser)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that overrides entries of a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override entries of the config, e.g. data_root=DIR train_cfg.max_iters=100; '
        'write lists as key="[a,b]", without white space',
    )


def add_runtime_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what computes the network."""
    parser.add_argument(
        '--runtime',
        choices=RUNTIMES,
        default=RUNTIMES[0],
        help='what computes the network: PyTorch or, from a file that is exported at the first use '
        'and kept beside the checkpoint, ONNX Runtime or OpenVINO (default: %(default)s)',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help='precision of the convolutions; bfloat16 is faster on processors that have it and '
        'changes the labels of a few pixels (default: %(default)s)',
    )


def add_pixel_limit(parser: argparse.ArgumentParser, default: int) -> None:
    """Add the option that bounds the size of images."""
    parser.add_argument(
        '--max-pixels',
        type=positive_integer,
        default=default,
        metavar='N',
        help='skip images with more pixels, without decoding them (default: %(default)s)',
    )


def add_jobs(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option that sets the number of processes."""
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        metavar='N',
        help='number of processes (default: number of cores)',
    )


def positive_integer(text: str) -> int:
    """Return the value of an option that must be at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


# argparse names the type in its error message.
positive_integer.__name__ = 'positive integer'


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of tools that write logs and support distributed launchers."""
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher that started the processes (default: none)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
