"""Number of cases of fuzz tests, and damage to the bytes of a file."""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Number of cases of all fuzz tests together; check_fuzz.py sets a larger one.
TOTAL_IN_TESTS = 730
TOTAL = int(os.environ.get('FUZZ_CASES', TOTAL_IN_TESTS))


def cases(share: int) -> Callable:
    """Return settings of a fuzz test with this many of the 730 cases of ``make test``.

    The cases are the same in every run, so failures are reproducible.
    """
    return settings(
        max_examples=max(1, share * TOTAL // TOTAL_IN_TESTS),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Return a strategy for damage: truncation, flipped bits, overwritten or missing ranges."""
    kind = draw(st.sampled_from(['cut', 'flip', 'overwrite', 'leave out', 'other']))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    stretch = draw(st.binary(min_size=1, max_size=64))

    def damage(data: bytes) -> bytes:
        content = bytearray(data)
        first = int(places[0] * len(content))
        if kind == 'cut':
            return bytes(content[:first])
        if kind == 'flip':
            for place in places:
                bit = int(place * 8 * len(content))
                content[bit // 8] ^= 1 << bit % 8
        elif kind == 'overwrite':
            content[first : first + len(stretch)] = stretch
        elif kind == 'leave out':
            del content[first : first + len(stretch)]
        else:
            return stretch
        return bytes(content)

    return damage
