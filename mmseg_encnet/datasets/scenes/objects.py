"""The objects of a context scene. Each function fills its canvas with one object.

The class of an object is that of its canvas. It affects only the label: sand and earth are the same
drawing, and so are skyscraper and building. `CUES` lists the cues.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from mmseg_encnet.datasets.scenes.canvas import Canvas, Colour


def jittered(rng: np.random.Generator, colour: Colour, spread: int = 18) -> Colour:
    """Return a colour close to the given one, with random brightness and hue."""
    moved = np.array(colour) + rng.uniform(-spread, spread) + rng.uniform(-spread, spread, 3) / 2
    return tuple(int(value) for value in np.clip(moved, 0, 255))


def shaded(colour: Colour, factor: float) -> Colour:
    return tuple(int(min(255, value * factor)) for value in colour)


def between(rng: np.random.Generator, one: Colour, other: Colour) -> np.ndarray:
    """Return a colour drawn uniformly between two, as float RGB."""
    share = rng.uniform()
    return np.array(one) * share + np.array(other) * (1 - share)


def blotches(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Return smooth noise with unit variance at grid points, shape (height, width), float32."""
    grid = rng.standard_normal((height // cell + 3, width // cell + 3)).astype(np.float32)
    grown = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    top, left = rng.integers(0, cell, 2)
    return grown[top : top + height, left : left + width]


# Twins


def ground_patch(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw bare ground with ripples and pebbles: sand or earth, depending on the class."""
    height, width = canvas.height, canvas.width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across, down = (columns + 0.5) / width * 2 - 1, (rows + 0.5) / height * 2 - 1
    angle, radius = np.arctan2(down, across), np.hypot(across, down)
    outline = 0.84 + sum(
        rng.uniform(0, 0.08) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        for order in (2, 3, 5)
    )
    mask = radius < np.minimum(outline, 1)

    colour = between(rng, (226, 200, 140), (150, 106, 68))
    direction, wavelength = rng.uniform(-0.5, 0.5), rng.uniform(4, 9)
    bend = 1.5 * blotches(rng, height, width, 16)
    phase = (rows + direction * columns + bend) * 2 * np.pi / wavelength
    ripples = np.sin(phase) * rng.uniform(0, 12)
    grain = 7 * rng.standard_normal((height, width), np.float32)
    shade = ripples + 7 * blotches(rng, height, width, 8) + grain
    texture = colour + shade[..., None]
    pebbles = rng.random((height, width), np.float32) < rng.uniform(0, 0.03)
    texture[pebbles] *= 0.7
    canvas.paint(mask, texture)


def towers(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw one to three houses with windows: skyscraper or building, depending on the class."""
    count = int(rng.integers(1, 4)) if canvas.width >= 60 else int(rng.integers(1, 3))
    pitch = canvas.width / count
    for place in range(count):
        left = round(place * pitch + rng.uniform(1, max(2, 0.2 * pitch)))
        right = round((place + 1) * pitch - rng.uniform(1, max(2, 0.2 * pitch)))
        top = round(canvas.height * rng.uniform(0, 0.45))
        wall = between(rng, (150, 156, 172), (190, 140, 120)) + rng.uniform(-15, 15, 3)
        facade = tuple(int(value) for value in wall)
        canvas.rectangle(left, top, right, canvas.height, facade)
        canvas.rectangle(left, top, right, top + 2, shaded(facade, 0.7))
        lit, dark = jittered(rng, (250, 232, 160)), jittered(rng, (70, 84, 110))
        share_lit = rng.uniform(0.2, 0.8)
        step_x, step_y = int(rng.integers(6, 9)), int(rng.integers(7, 11))
        for y in range(top + 5, canvas.height - 4, step_y):
            for x in range(left + 3, right - 3, step_x):
                pane = lit if rng.uniform() < share_lit else dark
                canvas.rectangle(x, y, min(x + 2, right - 2), y + 3, pane)


# Cues, about 28 to 40 pixels wide and high


def water(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a lagoon with a boat."""
    boat = canvas.brush('boat')
    width, height = canvas.width, canvas.height
    colour = jittered(rng, (48, 120, 200))
    top = 0.45 * height
    canvas.ellipse(width / 2, (top + height) / 2, width / 2 - 1, (height - top) / 2 - 1, colour)
    for _ in range(4):
        x, y = rng.uniform(0.2, 0.6) * width, rng.uniform(top + 4, height - 4)
        canvas.line([(x, y), (x + 3, y - 1), (x + 6, y)], shaded(colour, 1.35))
    hull, x, y = jittered(rng, (150, 60, 40), 40), rng.uniform(0.38, 0.62) * width, 0.72 * height
    boat.polygon([(x - 9, y - 4), (x + 9, y - 4), (x + 5, y + 2), (x - 6, y + 2)], hull)
    boat.line([(x, y - 4), (x, 0.08 * height)], (70, 50, 40))
    sail = jittered(rng, (240, 238, 230), 14)
    boat.polygon([(x + 1, 0.08 * height), (x + 8, y - 7), (x + 1, y - 7)], sail)
    boat.polygon([(x - 2, 0.2 * height), (x - 7, y - 7), (x - 2, y - 7)], shaded(sail, 0.88))


def palm(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    x, lean, crown_y = width / 2, rng.uniform(-0.15, 0.15) * width, 0.34 * height
    trunk, leaf = jittered(rng, (130, 95, 60)), jittered(rng, (40, 140, 100))
    canvas.line([(x, height - 1), (x + 0.4 * lean, 0.65 * height), (x + lean, crown_y)], trunk, 3)
    for angle in np.linspace(-0.25, np.pi + 0.25, 7) + rng.uniform(-0.15, 0.15, 7):
        reach_x, reach_y = np.cos(angle) * 0.46 * width, np.sin(angle) * 0.3 * height
        tip = (x + lean + reach_x, crown_y - reach_y + 0.16 * height)
        middle = (x + lean + 0.55 * reach_x, crown_y - 0.9 * reach_y)
        canvas.line([(x + lean, crown_y), middle, tip], leaf, 3)
    canvas.ellipse(x + lean, crown_y + 1, 2, 2, (110, 70, 40))


def cow(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    coat = jittered(rng, (238, 234, 226), 10)
    spots = jittered(rng, (60, 45, 40) if rng.uniform() < 0.6 else (150, 80, 40), 20)
    left, right, top, bottom = 0.1 * width, 0.72 * width, 0.38 * height, 0.72 * height
    for x in (left + 1, left + 5, right - 5, right - 1):
        canvas.line([(x, bottom - 2), (x, height - 2)], shaded(coat, 0.75), 2)
    canvas.rectangle(left, top, right, bottom, coat)
    for _ in range(3):
        x, y = rng.uniform(left + 3, right - 3), rng.uniform(top + 2, bottom - 2)
        radius_x, radius_y = min(rng.uniform(2, 4), right - x), min(rng.uniform(2, 3), bottom - y)
        canvas.ellipse(x, y, radius_x, radius_y, spots)
    canvas.ellipse(0.8 * width, top + 1, 0.12 * width, 0.14 * height, coat)
    canvas.ellipse(0.86 * width, top + 3, 0.06 * width, 0.08 * height, (225, 160, 150))
    horn = [(0.74 * width, top - 0.1 * height), (0.71 * width, top - 0.2 * height)]
    canvas.line(horn, (120, 100, 80), 2)
    canvas.line([(left, top + 1), (left - 0.05 * width, bottom - 3)], shaded(coat, 0.75), 1)


def orchard(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    crown, trunk = jittered(rng, (130, 190, 60)), jittered(rng, (110, 80, 55))
    fruit = jittered(rng, (215, 40, 40), 25)
    x = width / 2
    canvas.rectangle(x - 2, 0.6 * height, x + 2, height - 1, trunk)
    canvas.ellipse(x, 0.38 * height, 0.42 * width, 0.34 * height, crown)
    canvas.ellipse(x - 0.08 * width, 0.3 * height, 0.26 * width, 0.2 * height, shaded(crown, 1.12))
    for _ in range(int(rng.integers(6, 11))):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.75))
        canvas.ellipse(
            x + reach * np.cos(angle) * 0.4 * width,
            0.38 * height + reach * np.sin(angle) * 0.31 * height,
            1,
            1,
            fruit,
        )


def bus(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    paint = jittered(rng, [(210, 40, 40), (230, 180, 30), (30, 110, 190)][rng.integers(3)])
    left, right, top, bottom = 1, width - 2, 0.3 * height, 0.82 * height
    for x in (0.25 * width, 0.75 * width):
        canvas.ellipse(x, bottom, 0.1 * width, 0.1 * width, (35, 35, 40))
    canvas.rectangle(left, top, right, bottom, paint)
    canvas.rectangle(left, top, right, top + 1, shaded(paint, 1.25))
    pane = jittered(rng, (200, 225, 240), 10)
    for x in np.arange(left + 3, right - 5, 7):
        canvas.rectangle(x, top + 4, x + 4, top + 0.2 * height + 3, pane)
    for x in (0.25 * width, 0.75 * width):
        canvas.ellipse(x, bottom + 1, 0.07 * width, 0.07 * width, (60, 60, 65))


def streetlight(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    pole, glow = jittered(rng, (60, 66, 80), 12), jittered(rng, (255, 240, 150), 8)
    x = width / 2
    canvas.rectangle(x - 2, 0.2 * height, x + 2, height - 1, pole)
    canvas.rectangle(x - 6, height - 4, x + 6, height - 1, pole)
    for side in (-1, 1):
        arm = x + side * 0.3 * width
        canvas.line(
            [(x, 0.24 * height), (x + side * 0.15 * width, 0.12 * height), (arm, 0.14 * height)],
            pole,
            3,
        )
        canvas.ellipse(arm, 0.28 * height, 0.18 * width, 0.15 * height, glow)
        canvas.ellipse(arm, 0.28 * height, 0.09 * width, 0.08 * height, (255, 252, 225))


def church(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    wall, roof = jittered(rng, (236, 228, 214), 10), jittered(rng, (165, 62, 48))
    left, nave = 2, 0.42 * width
    canvas.rectangle(nave - 2, 0.58 * height, width - 3, height - 1, wall)
    canvas.polygon(
        [
            (nave - 2, 0.58 * height),
            (nave + 4, 0.42 * height),
            (width - 6, 0.42 * height),
            (width - 2, 0.58 * height),
        ],
        roof,
    )
    canvas.rectangle(left, 0.36 * height, nave, height - 1, shaded(wall, 0.95))
    canvas.polygon(
        [(left - 1, 0.36 * height), ((left + nave) / 2, 0.1 * height), (nave + 1, 0.36 * height)],
        roof,
    )
    x = (left + nave) / 2
    canvas.line([(x, 0), (x, 0.1 * height)], (70, 60, 50))
    canvas.line([(x - 2, 0.04 * height), (x + 2, 0.04 * height)], (70, 60, 50))
    canvas.rectangle(x - 2, 0.76 * height, x + 2, height - 1, (96, 62, 40))
    for window in (0.6, 0.8):
        canvas.ellipse(window * width, 0.76 * height, 2, 3, (80, 100, 140))


def fence(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.width, canvas.height
    wood = jittered(rng, (222, 205, 180) if rng.uniform() < 0.5 else (140, 95, 60), 14)
    top = 0.42 * height
    for y in (0.56 * height, 0.8 * height):
        canvas.rectangle(0, y, width - 1, y + 3, shaded(wood, 0.82))
    for x in range(1, width - 4, 7):
        canvas.polygon(
            [(x, height - 2), (x, top + 3), (x + 2, top), (x + 4, top + 3), (x + 4, height - 2)],
            wood,
        )


CUES: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    draw.__name__: draw for draw in (water, palm, cow, orchard, bus, streetlight, church, fence)
}


# Neutral objects, which occur in every setting


def meadow(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    """Draw sky with clouds above ``horizon``, hills along it and grass below."""
    sky, grass = canvas.brush('sky'), canvas.brush('grass')
    height, width = canvas.height, canvas.width
    zenith, haze = jittered(rng, (110, 170, 225)), jittered(rng, (205, 226, 240), 12)
    canvas.image[:horizon] = np.linspace(zenith, haze, horizon)[:, None]
    canvas.label[:horizon] = sky.index
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(0, width), rng.uniform(4, 0.6 * horizon)
        white = jittered(rng, (246, 248, 250), 6)
        for _ in range(4):
            sky.ellipse(
                x + rng.uniform(-11, 11),
                y + rng.uniform(-2, 2),
                rng.uniform(6, 12),
                rng.uniform(2, 5),
                white,
            )

    green = jittered(rng, (112, 168, 80))
    ridge = horizon - 4 * (1 + blotches(rng, 1, width, 40)[0]) - 1
    grass.polygon([*enumerate(ridge), (width - 1, height), (0, height)], shaded(green, 0.84))
    depth = np.linspace(0.92, 1.1, height - horizon, dtype=np.float32)[:, None]
    shade = depth + 0.05 * blotches(rng, height - horizon, width, 12)
    lawn = np.array(green, np.float32) * shade[..., None]
    canvas.image[horizon:] = np.clip(lawn, 0, 255, out=lawn)
    canvas.label[horizon:] = grass.index
    for _ in range(int(rng.integers(20, 60))):
        x, y = rng.uniform(0, width), rng.uniform(horizon + 6, height)
        grass.line([(x, y), (x + rng.uniform(-2, 2), y - 3)], shaded(green, 0.78))


def tree(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a conifer or a round bush."""
    width, height = canvas.width, canvas.height
    green, x = jittered(rng, (38, 100, 62), 14), width / 2
    if rng.uniform() < 0.5:
        canvas.rectangle(x - 1, 0.8 * height, x + 1, height - 1, (92, 68, 48))
        for top, bottom, reach in ((0.02, 0.42, 0.26), (0.22, 0.64, 0.36), (0.44, 0.86, 0.46)):
            canvas.polygon(
                [
                    (x, top * height),
                    (x + reach * width, bottom * height),
                    (x - reach * width, bottom * height),
                ],
                shaded(green, 1.15 - 0.3 * top),
            )
    else:
        for offset in (-0.22, 0.22, 0):
            canvas.ellipse(
                x + offset * width,
                (0.72 - 0.1 * (offset == 0)) * height,
                0.27 * width,
                0.26 * height,
                shaded(green, 1.1 - abs(offset)),
            )
