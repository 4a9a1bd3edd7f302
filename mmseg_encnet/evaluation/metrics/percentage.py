from __future__ import annotations


def percentage(part: float, total: float = 1) -> float:
    """Return a share in percent, rounded to two decimals; nan if the total is zero."""
    return round(100 * float(part) / float(total), 2) if total else float('nan')
