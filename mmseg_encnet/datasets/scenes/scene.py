"""Layouts and settings of context scenes.

A scene is drawn in two steps that share no random numbers. The layout (background, light, twins and
the boxes for cues) is independent of the setting. The setting then fills the cue boxes and
determines the classes of the twins. Hence only the cues distinguish twins, and two scenes of one
layout are equal in every pixel outside their cue boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmseg_encnet.datasets.scenes import objects
from mmseg_encnet.datasets.scenes.canvas import Box, Canvas
from mmseg_encnet.datasets.scenes.classes import PAIRS, Setting, index_of

HEIGHT, WIDTH = 128, 256

# Each zone contains the twins of one pair and the cues of the other, so a twin and its cues are
# always more than WIDTH - 2 * ZONE columns apart.
ZONE = 88

# Part of the seed, so that splits have independent random numbers.
SPLITS = {'train': 0, 'val': 1, 'test': 2}

# Layout (one of two) and setting of each pair for eight consecutive scenes. Four in a row, which
# form a training batch, show two layouts, each in opposite settings, and every combination once.
ORDER = (
    (0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0),
    (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: RGB, uint8, shape (128, 256, 3).
        label: Class indices, uint8, shape (128, 256); every pixel has a class.
        settings: Setting of each pair of `classes.PAIRS`.
        cue_boxes: Boxes of the cues to each pair.
    """

    image: np.ndarray
    label: np.ndarray
    settings: tuple[Setting, ...]
    cue_boxes: tuple[tuple[Box, ...], ...]

    def twin_mask(self, pair: int) -> np.ndarray:
        """Return the mask of the twins of a pair, bool, shape (128, 256)."""
        return self.label == index_of(self.settings[pair].twin)

    def cue_mask(self, pair: int) -> np.ndarray:
        """Return the mask of the cues to the twins of a pair, bool, shape (128, 256)."""
        return np.isin(self.label, [index_of(name) for name in self.settings[pair].cue_classes])


@dataclass(frozen=True)
class Layout:
    """Positions of all objects, independent of the setting."""

    horizon: int
    twin_boxes: tuple[Box, ...]
    cue_boxes: tuple[tuple[Box, ...], ...]
    tree_boxes: tuple[Box, ...]


def draw_scene(seed: int, split: str, index: int) -> Scene:
    """Draw one scene.

    Scenes 8k to 8k + 7 are matched: two layouts, each in all four combinations of settings. Two
    scenes that differ in a single setting are equal except for the cues to that pair of twins, so a
    network that does not use these cues classifies the twins correctly in exactly one of the two.

    Args:
        seed: Non-negative seed of the data set.
        split: A key of `SPLITS`.
        index: Non-negative number of the scene.

    Returns:
        The scene. With the same versions of NumPy and OpenCV it depends only on the arguments.
    """
    which, *choices = ORDER[index % len(ORDER)]
    number = index // len(ORDER) * 2 + which
    layout_seed, cue_seed = np.random.SeedSequence([seed, SPLITS[split], number]).spawn(2)
    settings = tuple(pair[choice] for pair, choice in zip(PAIRS, choices))

    rng = np.random.default_rng(layout_seed)
    layout = plan_layout(rng)
    canvas = Canvas(np.empty((HEIGHT, WIDTH, 3), np.uint8), np.empty((HEIGHT, WIDTH), np.uint8))
    objects.meadow(canvas, rng, layout.horizon)
    for box in layout.tree_boxes:
        objects.tree(canvas.window(box).brush('tree'), rng)
    for draw, box, setting in zip(
        (objects.ground_patch, objects.towers), layout.twin_boxes, settings
    ):
        draw(canvas.window(box).brush(setting.twin), rng)
    # The random numbers of a setting do not depend on the setting of the other pair.
    cue_seeds = cue_seed.spawn(2 * len(PAIRS))
    for pair, (setting, boxes) in enumerate(zip(settings, layout.cue_boxes)):
        own = np.random.default_rng(cue_seeds[2 * pair + choices[pair]])
        draw_cues(canvas, own, setting, boxes)
    return Scene(light(canvas.image, rng), canvas.label, settings, layout.cue_boxes)


def draw_cues(
    canvas: Canvas, rng: np.random.Generator, setting: Setting, boxes: tuple[Box, ...]
) -> None:
    """Fill the cue boxes with cues from a random non-empty subset of the setting's kinds."""
    subsets = [setting.cues[:1], setting.cues[1:], setting.cues]
    kinds = subsets[rng.integers(len(subsets))]
    for box in boxes:
        kind = kinds[rng.integers(len(kinds))]
        objects.CUES[kind](canvas.window(box).brush(kind), rng)


def plan_layout(rng: np.random.Generator) -> Layout:
    horizon = int(rng.integers(36, 51))
    zones = [(0, ZONE), (WIDTH - ZONE, WIDTH)]
    if rng.uniform() < 0.5:
        zones.reverse()
    patch, town_cues = plan_zone(rng, *zones[0], horizon, tall=False)
    houses, ground_cues = plan_zone(rng, *zones[1], horizon, tall=True)
    trees = []
    for _ in range(int(rng.integers(2, 9))):
        size = int(rng.integers(14, 28))
        # Most trees are between the zones, away from all other objects. In the zones, twins and
        # cues may hide them.
        between = rng.uniform() < 0.75
        span = (ZONE, WIDTH - ZONE - size) if between else (0, WIDTH - size)
        left = int(rng.integers(*span))
        trees.append((int(rng.integers(horizon + 8, HEIGHT)), left, size))
    # From back to front.
    tree_boxes = tuple(
        Box(left, bottom - size, left + size, bottom) for bottom, left, size in sorted(trees)
    )
    return Layout(horizon, (patch, houses), (ground_cues, town_cues), tree_boxes)


def plan_zone(
    rng: np.random.Generator, left: int, right: int, horizon: int, *, tall: bool
) -> tuple[Box, tuple[Box, ...]]:
    """Place a twin and one to three cue boxes in the columns from left to right, without overlap.

    A tall twin (houses) rises above the horizon, where the ground begins; a patch lies below it.
    """
    if rng.uniform() < 0.5:
        # One in front of the other. Houses are always behind, because they would hide the cues.
        twin_behind = tall or rng.uniform() < 0.5
        middle = int(rng.integers(84, 93))
        rows = (horizon + 2, middle) if twin_behind else (middle, HEIGHT - 2)
        cue_rows = (middle + 2, HEIGHT - 1) if twin_behind else (middle - 38, middle - 2)
        count = int(rng.integers(1, 4))
        pitch = (right - left) // count
        columns = [(left + pitch * place, left + pitch * (place + 1)) for place in range(count)]
        cues = tuple(plan_cue(rng, *span, *cue_rows) for span in columns)
        twin_left, twin_right = left, right
    else:
        width = int(rng.integers(34, 39))
        cue_first = rng.uniform() < 0.5
        cue_left = left if cue_first else right - width
        twin_left, twin_right = (left + width, right) if cue_first else (left, right - width)
        count = int(rng.integers(1, 3))
        starts = (horizon + 2, horizon + 2 + (HEIGHT - horizon) // 2)
        if count == 1:
            spans = [(int(rng.integers(starts[0], HEIGHT - 34)), HEIGHT - 1)]
        else:
            spans = [(starts[0], starts[1]), (starts[1], HEIGHT - 1)]
        cues = tuple(plan_cue(rng, cue_left, cue_left + width, *span) for span in spans)
        bottom = int(rng.integers(horizon + 40, HEIGHT))
        rows = (bottom - int(rng.integers(34, 42)), bottom)
    width = min(twin_right - twin_left, int(rng.integers(46, 89)))
    start = int(rng.integers(twin_left, twin_right - width + 1))
    if tall:
        bottom = rows[1]
        return Box(start, max(2, bottom - int(rng.integers(46, 80))), start + width, bottom), cues
    return Box(start, rows[0], start + width, rows[1]), cues


def plan_cue(rng: np.random.Generator, left: int, right: int, top: int, bottom: int) -> Box:
    """Return a cue box of random size and position within a span of columns and rows."""
    width = min(right - left, int(rng.integers(30, 43)))
    height = min(bottom - top, int(rng.integers(30, 43)))
    start = int(rng.integers(left, right - width + 1))
    end = int(rng.integers(top + height, bottom + 1))
    return Box(start, end - height, start + width, end)


def light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image with random illumination and noise, both independent of the setting."""
    gain = rng.uniform(0.75, 1.1) * rng.uniform(0.93, 1.07, 3)
    noise = rng.standard_normal(image.shape[:2], np.float32) * np.float32(rng.uniform(2, 5))
    lit = image * gain.astype(np.float32)
    lit += noise[..., None]
    return np.clip(lit, 0, 255, out=lit).astype(np.uint8)
