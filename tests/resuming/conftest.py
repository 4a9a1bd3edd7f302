"""Fixtures for tests of resuming."""

from __future__ import annotations

import pytest
from stopped_runs import Runs


@pytest.fixture(scope='session')
def runs(tmp_path_factory) -> Runs:
    """Return a maker of runs that stopped in the middle."""
    return Runs(tmp_path_factory.mktemp('runs'))
