"""The maps of a context sheet as RGB images."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import ImageColor

from mmseg_encnet.visualization.class_colours import IGNORED, colour
from mmseg_encnet.visualization.context_sheet.prediction import ContextPrediction
from mmseg_encnet.visualization.style import PALETTE, VERMILION

WRONG = ImageColor.getrgb(VERMILION)


def codeword_colours(num_codes: int) -> np.ndarray:
    """Return RGB colours ``(num_codes, 3)`` uint8, the same for a codeword in every image.

    The first colours are those of the palette; further ones are lighter and darker shades of them,
    so that neighbouring numbers differ in hue.
    """
    palette = np.array([ImageColor.getrgb(code) for code in PALETTE], dtype=float)
    # Towards white (positive) or black (negative); the most distinct shades come first.
    shades = (0, 0.55, -0.5, 0.3, -0.25, 0.75, -0.7, 0.15)
    shaded = [
        palette + (255 - palette) * shade if shade > 0 else palette * (1 + shade)
        for shade in shades
    ]
    return np.resize(np.concatenate(shaded), (num_codes, 3)).astype(np.uint8)


def paint_codewords(context: ContextPrediction) -> np.ndarray:
    """Return the strongest codeword of each pixel as colours ``(H, W, 3)`` uint8."""
    return colour(context.codewords, codeword_colours(len(context.assignments)))


def paint_errors(context: ContextPrediction) -> np.ndarray:
    """Return wrong pixels in vermilion on a pale image, ignored ones in black, as RGB uint8."""
    grey = cv2.cvtColor(context.image, cv2.COLOR_RGB2GRAY)
    painted = np.repeat((170 + grey[..., None] / 3).astype(np.uint8), 3, axis=2)
    painted[context.wrong] = WRONG
    painted[~context.labelled] = IGNORED
    return painted
