"""The classes of context scenes, the twins among them, and the cues to each twin."""

from __future__ import annotations

from typing import NamedTuple

# In the order of label values. Twins have dissimilar colours, so that confusions are visible.
_COLOURS = {
    'sky': (135, 190, 235),
    'grass': (120, 180, 90),
    'tree': (25, 95, 50),
    'sand': (250, 215, 100),
    'earth': (120, 70, 25),
    'skyscraper': (95, 60, 170),
    'building': (235, 120, 160),
    'water': (30, 90, 200),
    'boat': (255, 255, 255),
    'palm': (0, 160, 140),
    'cow': (40, 40, 40),
    'orchard': (190, 230, 50),
    'bus': (220, 30, 30),
    'streetlight': (255, 160, 0),
    'church': (150, 150, 150),
    'fence': (90, 0, 60),
}
CLASSES = tuple(_COLOURS)
PALETTE = tuple(_COLOURS.values())


def index_of(name: str) -> int:
    """Return the label value of a class."""
    return CLASSES.index(name)


class Setting(NamedTuple):
    """One of the two settings of a pair of twins.

    Attributes:
        name: Name of the setting.
        twin: Class of the twin surface in this setting.
        cues: Kinds of objects that occur only in this setting, by class; a boat is drawn
            with the water.
        cue_classes: Classes of these objects.
    """

    name: str
    twin: str
    cues: tuple[str, str]
    cue_classes: tuple[str, ...]


GROUND = (
    Setting('coast', 'sand', ('water', 'palm'), ('water', 'boat', 'palm')),
    Setting('farm', 'earth', ('cow', 'orchard'), ('cow', 'orchard')),
)
TOWN = (
    Setting('city', 'skyscraper', ('bus', 'streetlight'), ('bus', 'streetlight')),
    Setting('village', 'building', ('church', 'fence'), ('church', 'fence')),
)

# In the order of `TWINS`.
PAIRS = (GROUND, TOWN)
TWINS = tuple(tuple(setting.twin for setting in pair) for pair in PAIRS)
