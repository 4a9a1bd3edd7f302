"""Compile the Triton kernels for every GPU architecture, without a GPU, and report the result.

Prints registers, spilled bytes, shared memory, tensor-core instructions and occupancy, and the
least time that published peaks of cards allow, for the encoding and for the loss. All tile sizes
that the backend 'auto' times are compiled, about three seconds each. Exit status 1 if a kernel
spills registers, does not fit, leaves fewer than two tiles in flight on a multiprocessor or, for
the encoding, uses no tensor cores.
"""

from __future__ import annotations

__mmseg_encnet_tool__ = True

import argparse
import sys

from mmseg_encnet.program import program
from mmseg_encnet.workbench.benchmarks.command import output_file
from mmseg_encnet.workbench.kernels import CODES, DTYPE_NAMES
from mmseg_encnet.workbench.kernels.hardware import ARCHITECTURES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--architectures',
        type=int,
        nargs='+',
        choices=ARCHITECTURES,
        default=list(ARCHITECTURES),
        help='compute capabilities without the point (default: all)',
    )
    parser.add_argument(
        '--dtypes',
        nargs='+',
        choices=DTYPE_NAMES,
        default=list(DTYPE_NAMES),
        help='dtypes of features and logits',
    )
    parser.add_argument(
        '--codes',
        type=int,
        nargs='+',
        default=list(CODES),
        help='numbers of codewords of the encoding',
    )
    parser.add_argument(
        '--only-defaults', action='store_true', help='compile the default tile sizes alone'
    )
    parser.add_argument('--jobs', type=int, default=1, help='processes that compile in parallel')
    parser.add_argument('--json', type=output_file, help='write the rows of the table to this file')
    parser.add_argument('--markdown', type=output_file, help='write the tables to this file')
    return parser.parse_args()


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmseg_encnet.workbench.kernels import report

    rows = report.compile_all(
        args.architectures, args.dtypes, args.codes, args.jobs, not args.only_defaults
    )
    text = '\n\n'.join(
        (
            report.compiled_table(rows),
            report.summary_table(rows),
            report.predicted_table(dtypes=args.dtypes),
            report.predicted_loss_table(dtypes=args.dtypes),
        )
    )
    print(text)
    if args.json:
        args.json.write_text(report.as_json(rows) + '\n', encoding='utf-8')
    if args.markdown:
        args.markdown.write_text(text + '\n', encoding='utf-8')
    found = report.faults(rows)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
