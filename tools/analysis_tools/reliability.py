"""Run the long checks in tests/reliability and write their results to docs/reliability.md."""

__mmseg_encnet_tool__ = True

import argparse
import os
import subprocess
import sys
from pathlib import Path

from mmseg_encnet.program import program

CHECKS = Path(__file__).resolve().parents[2] / 'tests' / 'reliability'


def parse_args() -> argparse.Namespace:
    names = sorted(path.stem.removeprefix('check_') for path in CHECKS.glob('check_*.py'))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checks',
        nargs='*',
        metavar='CHECK',
        help=f'checks to run (default: all): {", ".join(names)}',
    )
    parser.add_argument(
        '--page-only', action='store_true', help='write the page from the existing results'
    )
    args = parser.parse_args()
    unknown = set(args.checks) - set(names)
    if unknown:
        parser.error(f'unknown check {min(unknown)}; choose from {", ".join(names)}')
    args.checks = args.checks or names
    return args


@program(parse_args)
def main(args: argparse.Namespace) -> None:
    sys.path.insert(0, str(CHECKS))
    import record

    environment = dict(os.environ, OMP_NUM_THREADS='1')
    failed = []
    for name in [] if args.page_only else args.checks:
        print(f'--- {name}', flush=True)
        command = [sys.executable, str(CHECKS / f'check_{name}.py')]
        if subprocess.run(command, env=environment).returncode:
            failed.append(name)
        # After each check, to keep the results if a later one is interrupted.
        record.PAGE.write_text(record.render(record.stored()), encoding='utf-8')
    record.PAGE.write_text(record.render(record.stored()), encoding='utf-8')
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
