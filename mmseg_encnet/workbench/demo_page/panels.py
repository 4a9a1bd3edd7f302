"""The parts of the page, as HTML that holds its pictures in itself.

Every map has the class ``em-map``, and fills its box exactly: a place in one is the same place in
all. What the pointer's script names under the cursor lies in PNGs without colours, one pixel a
pixel: class indices in the panel of the prediction, codewords in the panel of the codewords.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmseg_encnet.visualization.class_colours import colour
from mmseg_encnet.visualization.context_sheet import (
    DPI,
    MAX_CLASS_BARS,
    MAX_CODEWORD_BARS,
    ContextPrediction,
    Part,
    codeword_colours,
    pixels,
    sheet_parts,
)
from mmseg_encnet.workbench.demo_page.session import Session

# Inches.
MAP_WIDTH, TALLEST_MAP = 5.0, 5.0


class Bar(NamedTuple):
    """One row of a bar chart: a share from 0 to 1 under a name."""

    name: str
    value: float
    text: str
    colour: str
    faded: bool = False


def photograph_panel(context: ContextPrediction, name: str) -> str:
    """The photograph under its file's name."""
    return _template().photograph(name, _jpeg(context.image), _ratio(context.image))


def labels_panels(session: Session, threshold: float) -> tuple[str, str]:
    """The labels that a threshold leaves, and their legend with the areas of the classes."""
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
            _percent(areas[index]),
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
        _percent(float((labels != session.unchanged).mean())),
    )


def presence_panel(session: Session, threshold: float) -> str:
    """How probably each class is in the photograph; a sentence if the model does not tell."""
    if session.presence is None:
        return _template().note(
            'This model does not tell which classes are present, so there are no bars and no '
            'threshold: that takes an EncodingHead with SE-loss in a ContextEncoderDecoder.'
        )
    presence, removed = session.presence.numpy(), session.removed(threshold)
    order = np.argsort(-presence, kind='stable')[:MAX_CLASS_BARS]
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
    """Which codeword describes each pixel most, and the codewords' shares of the image."""
    if context.assignments is None:
        return _template().note(
            "This model's encoder assigns no pixels to codewords, so there is no map of them."
        )
    shares = context.codeword_shares
    colours = codeword_colours(len(shares))
    order = np.argsort(-shares, kind='stable')[:MAX_CODEWORD_BARS]
    bars = [
        Bar(str(code), float(shares[code]), _percent(shares[code]), _css(colours[code]))
        for code in order
    ]
    parts = sheet_parts(context)
    strongest = context.assignments.max(axis=0)
    return _template().codewords(
        parts['codewords'].title,
        _bare(parts['codewords'], context.image),
        _ratio(context.image),
        _index_png(context.codewords, strongest),
        [_percent(share) for share in shares],
        bars,
        len(shares) - len(bars),
    )


def channels_panel(context: ContextPrediction) -> str:
    """The channels that the gate lets through most and least."""
    maps = [
        (part.title, _bare(part, context.image))
        for name, part in sheet_parts(context).items()
        if name.startswith(('strong', 'weak'))
    ]
    if not maps:
        return _template().note('This model has no gate over its channels to show.')
    return _template().channels(maps, _ratio(context.image))


def message_panel(sentence: str) -> str:
    """What went wrong, in one sentence."""
    return _template().message(sentence)


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader('mmseg_encnet.workbench.demo_page'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template: Template = environment.get_template('panels.html')
    return template.module


def _ratio(picture: np.ndarray) -> float:
    """Width over height."""
    return round(picture.shape[1] / picture.shape[0], 4)


def _bare(part: Part, image: np.ndarray) -> str:
    """A map without margins, so that its places are the image's."""
    ratio = _ratio(image)
    width = min(MAP_WIDTH, TALLEST_MAP * ratio)
    figure = Figure(figsize=(width, width / ratio), dpi=DPI)
    FigureCanvasAgg(figure)
    part.draw(figure.add_axes((0, 0, 1, 1)))
    return _png(pixels(figure))


def _index_png(indices: np.ndarray, weights: np.ndarray | None = None) -> str:
    """Indices as red + 256 green, weights from 0 to 1 as blue."""
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


def _percent(share: float) -> str:
    return '<0.1 %' if 0 < share < 0.0005 else f'{share * 100:.1f} %'
