"""The panels of the page, as HTML with embedded images.

Every map has the class ``em-map`` and fills its box exactly, so positions in all maps correspond.
The pointer script reads its data from index PNGs with one pixel per pixel of the photograph: class
indices in the prediction panel, codewords in the codeword panel.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.class_colours import colour
from mmseg_encnet.visualization.context_sheet import ContextPrediction
from mmseg_encnet.visualization.context_sheet.painting import codeword_colours
from mmseg_encnet.visualization.context_sheet.parts import Part, sheet_parts
from mmseg_encnet.workbench.demo_page.session import Session
from mmseg_encnet.workbench.formatting import html_template

# The charts show the leading classes and codewords.
MAX_CLASSES, MAX_CODEWORDS = 24, 16
# Inches.
MAP_WIDTH, MAX_MAP_HEIGHT = 5.0, 5.0


class Bar(NamedTuple):
    """One row of a bar chart, with a value from 0 to 1."""

    name: str
    value: float
    text: str
    colour: str
    faded: bool = False


def photograph_panel(context: ContextPrediction, name: str) -> str:
    """Return the photograph with its file name."""
    return _template().photograph(name, _jpeg(context.image), _ratio(context.image))


def labels_panels(session: Session, threshold: float) -> tuple[str, str]:
    """Return the prediction at a threshold, and its legend with the shares of the classes."""
    labels = session.labels(threshold)
    prediction = _template().prediction(
        _png(colour(labels, session.palette)),
        _ratio(labels),
        _index_png(labels),
        list(session.classes),
    )
    areas = np.bincount(labels.ravel(), minlength=len(session.classes)) / labels.size
    legend = [
        Bar(
            session.classes[index],
            areas[index],
            style.percent(areas[index]),
            _css(session.palette[index]),
        )
        for index in np.argsort(-areas, kind='stable')
        if areas[index]
    ]
    return prediction, _template().legend(
        legend,
        threshold,
        int(session.removed(threshold).sum()),
        len(session.classes),
        style.percent(float((labels != session.unchanged).mean())),
    )


def presence_panel(session: Session, threshold: float) -> str:
    """Return the class presence, or a sentence if the model does not predict it."""
    if session.presence is None:
        return _template().note(
            'This model does not predict class presence, so it has no threshold. Presence needs an '
            'EncodingHead with SE loss, or an auxiliary PresenceHead, in a ContextEncoderDecoder.'
        )
    presence, removed = session.presence.numpy(), session.removed(threshold)
    order = np.argsort(-presence, kind='stable')[:MAX_CLASSES]
    bars = [
        Bar(
            session.classes[index],
            float(presence[index]),
            f'{presence[index]:.2f}',
            _css(session.palette[index]),
            bool(removed[index]),
        )
        for index in order
    ]
    return _template().presence(bars, threshold, len(presence) - len(bars))


def codewords_panel(context: ContextPrediction) -> str:
    """Return the strongest codeword of each pixel, and the codeword shares."""
    if context.assignments is None:
        return _template().note('The encoder of this model does not assign pixels to codewords.')
    shares = context.codeword_shares
    colours = codeword_colours(len(shares))
    order = np.argsort(-shares, kind='stable')[:MAX_CODEWORDS]
    bars = [
        Bar(str(code), float(shares[code]), style.percent(shares[code]), _css(colours[code]))
        for code in order
    ]
    parts = sheet_parts(context)
    strongest = context.assignments.max(axis=0)
    return _template().codewords(
        parts['codewords'].title,
        _bare(parts['codewords'], context.image),
        _ratio(context.image),
        _index_png(context.codewords, strongest),
        [style.percent(share) for share in shares],
        bars,
        len(shares) - len(bars),
    )


def channels_panel(context: ContextPrediction) -> str:
    """Return the channels with the strongest and the weakest gates."""
    maps = [
        (part.title, _bare(part, context.image))
        for name, part in sheet_parts(context).items()
        if name.startswith(('strong', 'weak'))
    ]
    if not maps:
        return _template().note('This model does not gate its channels.')
    return _template().channels(maps, _ratio(context.image), context.seams)


def message_panel(sentence: str) -> str:
    """Return an error message."""
    return _template().message(sentence)


@lru_cache(maxsize=1)
def _template() -> Any:
    return html_template('demo_page', 'panels.html').module


def _ratio(picture: np.ndarray) -> float:
    """Return width over height."""
    return round(picture.shape[1] / picture.shape[0], 4)


def _bare(part: Part, image: np.ndarray) -> str:
    """Return a map without margins, so that its positions are those of the image."""
    ratio = _ratio(image)
    width = min(MAP_WIDTH, MAX_MAP_HEIGHT * ratio)
    figure = style.new_figure(width, width / ratio)
    figure.set_layout_engine('none')
    axes = figure.add_axes((0, 0, 1, 1))
    part.draw(axes)
    axes.set_aspect('auto')
    return _png(style.pixels(figure))


def _index_png(indices: np.ndarray, weights: np.ndarray | None = None) -> str:
    """Return a PNG with indices as red + 256 green and weights from 0 to 1 as blue."""
    packed = np.zeros((*indices.shape, 3), dtype=np.uint8)
    packed[..., 0] = indices & 255
    packed[..., 1] = indices >> 8
    if weights is not None:
        packed[..., 2] = np.rint(weights.clip(0, 1) * 255)
    return _png(packed)


def _png(picture: np.ndarray) -> str:
    return _address('png', picture)


def _jpeg(picture: np.ndarray) -> str:
    return _address('jpeg', picture, (cv2.IMWRITE_JPEG_QUALITY, 92))


def _address(kind: str, picture: np.ndarray, options: Sequence[int] = ()) -> str:
    encoded = cv2.imencode(f'.{kind}', picture[..., ::-1], options)[1]
    return f'data:image/{kind};base64,{base64.b64encode(encoded).decode()}'


def _css(rgb: Sequence[int]) -> str:
    return 'rgb({}, {}, {})'.format(*(int(value) for value in rgb))
