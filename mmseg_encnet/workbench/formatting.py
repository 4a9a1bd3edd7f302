"""Measurements as text: quantities with units, Markdown tables, strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any


def memory_text(num_bytes: float) -> str:
    """Return bytes in the largest fitting unit, for example ``12.3 MiB``."""
    return _scaled(num_bytes, 1024, ('B', 'KiB', 'MiB', 'GiB'))


def count_text(count: float) -> str:
    """Return a large number with a metric prefix, for example ``1.23 M``."""
    return _scaled(count, 1000, ('', 'k', 'M', 'G'))


def _scaled(value: float, factor: int, units: Sequence[str]) -> str:
    power = 0
    while value >= factor and power < len(units) - 1:
        value /= factor
        power += 1
    digits = f'{value:.3g}' if power and value < 100 else f'{value:.0f}'
    return f'{digits} {units[power]}'.strip()


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ['---'] * len(headers), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def strict_json(content: Any, **kwargs: Any) -> str:
    """Return content as standard JSON, in which NaN and infinities become null.

    Args:
        content: Anything that :func:`json.dumps` accepts.
        **kwargs: Arguments of :func:`json.dumps`.
    """
    return json.dumps(_finite(content), allow_nan=False, **kwargs)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
