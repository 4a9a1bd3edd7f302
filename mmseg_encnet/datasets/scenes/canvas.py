"""An image and its label map, drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmseg_encnet.datasets.scenes.classes import index_of

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: columns ``left`` to ``right`` and rows ``top`` to ``bottom``, both
    without the last one."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


class Canvas:
    """Draws every shape into both an RGB image and its label map, so that the two always agree.

    Edges are not anti-aliased: every pixel shows a single class, and changing an object changes no
    pixel outside it.

    Args:
        image: RGB image, uint8, shape (H, W, 3), drawn in place.
        label: Class indices, uint8, shape (H, W), drawn in place.
        index: Class of the shapes to draw.
    """

    def __init__(self, image: np.ndarray, label: np.ndarray, index: int = 0) -> None:
        self.image = image
        self.label = label
        self.index = index
        self.height, self.width = label.shape

    def brush(self, name: str) -> Canvas:
        """Return the canvas for drawing shapes of a class."""
        return Canvas(self.image, self.label, index_of(name))

    def window(self, box: Box) -> Canvas:
        """Return the part of the canvas inside ``box``, to which drawing is clipped."""
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        return Canvas(self.image[rows, columns], self.label[rows, columns], self.index)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        corners = np.rint(np.asarray(points)).astype(np.int32)[None]
        cv2.fillPoly(self.image, corners, colour)
        cv2.fillPoly(self.label, corners, self.index)

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, colour: Colour
    ) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour) -> None:
        centre, axes = (round(x), round(y)), (max(1, round(radius_x)), max(1, round(radius_y)))
        cv2.ellipse(self.image, centre, axes, 0, 0, 360, colour, cv2.FILLED)
        cv2.ellipse(self.label, centre, axes, 0, 0, 360, self.index, cv2.FILLED)

    def line(self, points: Sequence[Point], colour: Colour, thickness: int = 1) -> None:
        corners = np.rint(np.asarray(points)).astype(np.int32)[None]
        cv2.polylines(self.image, corners, False, colour, thickness)
        cv2.polylines(self.label, corners, False, self.index, thickness)

    def paint(self, mask: np.ndarray, texture: np.ndarray) -> None:
        """Fill ``mask`` (bool, (H, W)) with a texture (float or uint8 RGB, (H, W, 3))."""
        self.image[mask] = np.clip(texture[mask], 0, 255).astype(np.uint8)
        self.label[mask] = self.index
