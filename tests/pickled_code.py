"""A pickle that runs code."""

from __future__ import annotations

import os
from pathlib import Path


class Payload:
    """Unpickling it creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)
