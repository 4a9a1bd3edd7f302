"""Measurements as text: quantities with units, Markdown tables, strict JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmseg_encnet.errors import UserError, printable
from mmseg_encnet.plain_json import parse_json

if TYPE_CHECKING:
    from jinja2 import Template

# Bytes; parsed, a log takes several times as much.
MAX_LOG = 256 << 20


def memory_text(num_bytes: float) -> str:
    """Return bytes in the largest fitting unit, for example ``12.3 MiB``."""
    return _scaled(num_bytes, 1024, ('B', 'KiB', 'MiB', 'GiB'))


def count_text(count: float) -> str:
    """Return a large number with a metric prefix, for example ``1.23 M``."""
    return _scaled(count, 1000, ('', 'k', 'M', 'G'))


def number_text(value: float) -> str:
    """Return a number with three digits, or as an integer if it has more."""
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'


def _scaled(value: float, factor: int, units: Sequence[str]) -> str:
    power = 0
    while value >= factor and power < len(units) - 1:
        value /= factor
        power += 1
    digits = f'{value:.3g}' if power and value < 100 else f'{value:.0f}'
    return f'{digits} {units[power]}'.strip()


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells may contain any characters."""
    lines = [headers, ['---'] * len(headers), *rows]
    return '\n'.join(f'| {" | ".join(map(_cell, line))} |' for line in lines)


def _cell(text: str) -> str:
    return re.sub(r'(?<!\\)\|', r'\\|', printable(text))


def html_template(package: str, name: str) -> Template:
    """Return a template in a package of the workbench; what it is given is escaped."""
    # Imported here because it belongs to some of the extras.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(f'mmseg_encnet.workbench.{package}'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def strict_json(content: Any, **kwargs: Any) -> str:
    """Return what :func:`json.dumps` does, as standard JSON: NaN and infinities become null."""

    def finite(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(_map(finite, content), allow_nan=False, **kwargs)


def json_entries(content: Mapping[str, Any]) -> str:
    """Return a dictionary as standard JSON, one entry per line, which keeps matrices short."""
    lines = ',\n'.join(f'{json.dumps(key)}: {strict_json(value)}' for key, value in content.items())
    return f'{{\n{lines}\n}}\n'


def parse_strict_json(text: str) -> Any:
    """Return the content of JSON from :func:`strict_json`, with NaN for null.

    Raises:
        JSONError: The text is not usable JSON.
    """
    return _map(lambda value: math.nan if value is None else value, parse_json(text))


def read_json_lines(path: Path) -> list[Any]:
    """Return the content of each line of :func:`strict_json` in a file.

    It is None for an unreadable line, which a killed process can leave.

    Raises:
        UserError: The file exceeds :data:`MAX_LOG`.
    """
    check_file_size(path, MAX_LOG, 'delete its first lines.')
    entries = []
    for line in filter(str.strip, path.read_text('utf-8', errors='replace').splitlines()):
        try:
            entries.append(parse_strict_json(line))
        except ValueError:
            entries.append(None)
    return entries


def check_file_size(path: Path, limit: int, remedy: str) -> None:
    """Check the size of a file before it is read as a whole; a missing file passes.

    Args:
        path: The file.
        limit: Largest size in bytes.
        remedy: What to do about a larger file.

    Raises:
        UserError: It is larger.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > limit:
        raise UserError(
            f'{path} has {memory_text(size)}, which exceeds the limit of {memory_text(limit)}; '
            f'{remedy}'
        )


def _map(function: Callable[[Any], Any], content: Any) -> Any:
    """Apply a function to every leaf of nested dictionaries and lists."""
    if isinstance(content, dict):
        return {key: _map(function, value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_map(function, value) for value in content]
    return function(content)
