"""Look up known vulnerabilities of the packages in this environment, with pip-audit.

The exit status is 0 if there are none, 1 if there are some, and 2 if the packages cannot be looked
up. Only names and versions leave this machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

OURS = 'mmsegmentation-encnet'
# PyPI's own, and https://osv.dev.
SERVICES = ('pypi', 'osv')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--service', choices=SERVICES, default='pypi', help='where to look (default: pypi)'
    )
    args = parser.parse_args()
    packages = sorted(installed())
    found = look_up(packages, args.service)
    audited = [entry for entry in found if 'skip_reason' not in entry]
    # Behind a mirror without this data, pip-audit finds nothing about anything, and succeeds.
    if not audited:
        end(f'{args.service} has no data about any of the {len(packages)} packages', 2)
    unknown = [entry['name'] for entry in found if 'skip_reason' in entry]
    if unknown:
        print(f'not known to {args.service}: {", ".join(unknown)}')
    lines = list(described(audited))
    print('\n'.join(lines))
    vulnerable = len({line.split()[0] for line in lines})
    print(f'{len(audited)} packages looked up, {vulnerable} with known vulnerabilities.')
    sys.exit(bool(lines))


def installed() -> Iterator[str]:
    """Yield the packages of this environment as requirements."""
    for distribution in metadata.distributions():
        name = distribution.metadata['Name']
        if name and name.lower() != OURS:
            # No index has local versions, such as 2.13.0+cpu.
            yield f'{name}=={distribution.version.partition("+")[0]}'


def look_up(packages: list[str], service: str) -> list[dict[str, Any]]:
    """Return what pip-audit finds about packages."""
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, 'packages.txt'), Path(folder, 'report.json')
        listed.write_text('\n'.join(packages))
        options = ['--no-deps', '--disable-pip', '--progress-spinner', 'off', '--format', 'json']
        command = [sys.executable, '-m', 'pip_audit', '--vulnerability-service', service, *options]
        command += ['--requirement', str(listed), '--output', str(report)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return json.loads(report.read_text())['dependencies']
        except (OSError, ValueError, KeyError):
            last = (ended.stderr.strip().splitlines() or [f'status {ended.returncode}'])[-1]
            end(f'pip-audit failed ({last[:120]})', 2)


def described(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each vulnerability."""
    for entry in entries:
        for known in entry['vulns']:
            fixed = ', '.join(known['fix_versions']) or 'no version'
            yield f'{entry["name"]} {entry["version"]}: {known["id"]}, fixed in {fixed}'


def end(problem: str, status: int) -> None:
    print(
        f'{problem}; run `make audit` where pypi.org is reachable, or choose another service with '
        '--service.',
        file=sys.stderr,
    )
    sys.exit(status)


if __name__ == '__main__':
    main()
