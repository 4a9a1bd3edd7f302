"""Map the values or colours of label images to classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mmseg_encnet.workbench.converters.own.classes import IGNORED
from mmseg_encnet.workbench.converters.own.problems import UNKNOWN, FileProblem
from mmseg_encnet.workbench.converters.own.survey import TRANSPARENT, load_label, text_of

_UNKNOWN = -1
_REMEDY = f'assign them to the nearest class with --tolerance N, {UNKNOWN}'
_SHOWN = 3


@dataclass(frozen=True)
class Lookup:
    """Position of the class of each value or colour.

    Args:
        coloured: Whether the keys are colours.
        keys: The keys.
        positions: Position of each, 255 for ignored pixels.
        names: Name of the class of each.
        tolerance: Largest difference in a channel from a key.
        ignore_unknown: Whether other keys are ignored.
    """

    coloured: bool
    keys: tuple[int, ...]
    positions: tuple[int, ...]
    names: tuple[str, ...]
    tolerance: int = 0
    ignore_unknown: bool = False

    def apply(self, path: Path, keys: np.ndarray) -> np.ndarray:
        """Return the positions, ``(H, W)`` uint8, of the keys of a label, ``(H, W)``.

        Raises:
            FileProblem: It contains unknown keys.
        """
        table = _table(self)
        result = table[np.minimum(keys, len(table) - 1)]
        unknown = result == _UNKNOWN
        if unknown.any():
            found, inverse, counts = np.unique(
                keys[unknown], return_inverse=True, return_counts=True
            )
            nearest, distance = self.nearest(found)
            positions = np.array(self.positions)[nearest]
            far = distance > self.tolerance
            if far.any() and not self.ignore_unknown:
                reason = self._unknown(found, counts, nearest, distance)
                raise FileProblem(path, reason, _REMEDY if self.coloured else UNKNOWN)
            result[unknown] = np.where(far, IGNORED, positions)[inverse.ravel()]
        return result.astype(np.uint8)

    def nearest(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest key of each of some keys, and the largest difference in a channel."""
        known = np.array(self.keys)
        # In parts, because JPEG labels have many colours.
        parts = np.array_split(found, max(len(found) * len(known) // 4_000_000, 1))
        indices, distances = [], []
        for part in parts:
            distance = _distance(part, known, self.coloured)
            indices.append(distance.argmin(axis=1))
            distances.append(distance.min(axis=1))
        return np.concatenate(indices), np.concatenate(distances)

    def _unknown(
        self,
        found: np.ndarray,
        counts: np.ndarray,
        nearest: np.ndarray,
        distance: np.ndarray,
    ) -> str:
        far = np.flatnonzero(distance > self.tolerance)
        far = far[np.argsort(-counts[far], kind='stable')]
        shown = []
        for index in far[:_SHOWN]:
            key = int(found[index])
            text = f'{text_of(key) if self.coloured else key} ({counts[index]:,} px'
            if self.coloured and found[index] != TRANSPARENT:
                text += f', {distance[index]} from {self.names[nearest[index]]!r}'
            shown.append(f'{text})')
        more = f' and {len(far) - _SHOWN:,} more' * (len(far) > _SHOWN)
        kind = 'colour' if self.coloured else 'value'
        return f'contains the unknown {kind}{"s" * (len(far) > 1)} {", ".join(shown)}{more}'


def draw(lookup: Lookup, path: Path) -> np.ndarray:
    """Return the positions of the classes of a label image, ``(H, W)`` uint8.

    Raises:
        FileProblem: The file cannot be read or contains unknown keys.
    """
    label = load_label(path)
    if lookup.coloured:
        keys = label.as_colours(path)
    elif label.coloured:
        # Three equal channels, as the survey found.
        keys = label.keys & 255
    else:
        keys = label.keys
    return lookup.apply(path, keys)


@lru_cache(maxsize=2)
def _table(lookup: Lookup) -> np.ndarray:
    size = TRANSPARENT + 2 if lookup.coloured else max(lookup.keys) + 2
    table = np.full(size, _UNKNOWN, np.int16)
    table[list(lookup.keys)] = lookup.positions
    return table


def _distance(found: np.ndarray, known: np.ndarray, coloured: bool) -> np.ndarray:
    if not coloured:
        return np.abs(found[:, None] - known)
    distance = np.zeros((len(found), len(known)), np.int32)
    for shift in (16, 8, 0):
        difference = (found[:, None] >> shift & 255) - (known >> shift & 255)
        np.maximum(distance, np.abs(difference), out=distance)
    # Transparent pixels are near to nothing else.
    distance[(found[:, None] == TRANSPARENT) != (known == TRANSPARENT)] = 256
    return distance
