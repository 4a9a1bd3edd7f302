"""The panels of the demo page, without the page."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ScoreMap
from mmseg_encnet.models.segmentors.windows import place_windows
from mmseg_encnet.predicting import Segmentor, load_segmentor
from mmseg_encnet.visualization.context_sheet import ContextPrediction
from mmseg_encnet.workbench.demo_page import panels
from mmseg_encnet.workbench.demo_page.session import (
    LONGEST_SIDE,
    Session,
    label_photograph,
    read_photograph,
)

# One row of pixels whose scores rank the classes 0 > 1 > 2, 1 > 2 > 0 and 2 > 0 > 1.
SCORES = torch.tensor([[[3.0, 1.0, 2.0]], [[2.0, 3.0, 1.0]], [[1.0, 2.0, 3.0]]])
SCORE_MAP = ScoreMap(
    [SCORES[None]], place_windows((1, 3), (1, 3), (1, 3), shift_last=True), (1, 3), None, False
)
PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def session(presence: list[float] | None = None, classes=('sea', 'cow', 'sky')) -> Session:
    return Session(
        classes,
        PALETTE,
        None if presence is None else SCORE_MAP,
        None if presence is None else torch.tensor(presence),
        SCORES.argmax(0).numpy(),
    )


def decoded(address: str) -> np.ndarray:
    """Return the RGB pixels of an embedded image."""
    content = base64.b64decode(address.partition(',')[2])
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def written_indices(html: str) -> np.ndarray:
    """Return the class indices that a panel passes to the pointer script."""
    data = decoded(re.search(r'data-kind.+?src="([^"]+)"', html).group(1)).astype(int)
    return data[..., 0] + 256 * data[..., 1]


@pytest.mark.parametrize(
    'presence, threshold, labels',
    [
        ([0.9, 0.1, 0.5], 0.0, [0, 1, 2]),
        ([0.9, 0.1, 0.5], 0.1, [0, 1, 2]),
        ([0.9, 0.1, 0.5], 0.3, [0, 2, 2]),
        ([0.9, 0.1, 0.5], 0.7, [0, 0, 0]),
        # The most probable class is never removed.
        ([0.2, 0.1, 0.5], 1.0, [2, 2, 2]),
        (None, 1.0, [0, 1, 2]),
    ],
    ids=str,
)
def test_a_threshold_removes_the_classes_below_it(presence, threshold, labels):
    one = session(presence)
    assert one.labels(threshold).tolist() == [labels]
    prediction, legend = panels.labels_panels(one, threshold)
    assert written_indices(prediction).tolist() == [labels]
    picture = decoded(re.search(r'<img src="([^"]+)"', prediction).group(1))
    assert picture[0].tolist() == [PALETTE[label] for label in labels]
    named = re.findall(r'title="(\w+)"', legend)
    assert sorted(named) == sorted({one.classes[label] for label in labels})
    # The session has not changed.
    assert one.labels(0).tolist() == [[0, 1, 2]]


def test_the_bars_of_removed_classes_fade():
    html = panels.presence_panel(session([0.9, 0.1, 0.5]), 0.3)
    bars = re.findall(r'em-bar( em-faded)?">.+?title="(\w+)".+?em-value">([\d.]+)<', html, re.S)
    assert bars == [('', 'sea', '0.90'), ('', 'sky', '0.50'), (' em-faded', 'cow', '0.10')]


def test_indices_beyond_one_byte_and_names_of_any_kind():
    labels = np.array([[0, 255, 256, 700]])
    names = [f'</img>"\'{index}' for index in range(701)]
    many = Session(names, [[1, 2, 3]] * 701, None, None, labels)
    prediction, legend = panels.labels_panels(many, 0)
    assert written_indices(prediction).tolist() == labels.tolist()
    assert '</img>' not in prediction + legend + panels.photograph_panel(
        ContextPrediction(np.zeros((1, 4, 3), np.uint8), labels, names, many.palette), names[0]
    )


def write_image(path, size, **options) -> None:
    Image.fromarray(
        np.arange(size[0] * size[1], dtype=np.uint32).reshape(size[::-1]).astype(np.uint8)
    ).convert('RGB').save(path, **options)


@pytest.mark.parametrize(
    'content, words',
    [
        (b'', 'cannot decode photo.png'),
        (b'some text', 'cannot decode photo.png'),
        (b'\xff\xd8\xff\xe0' + bytes(100), 'cannot decode photo.png'),
        ((31, 200), 'too small: got 31 x 200 pixels, expected'),
        ((4000, 100), r'got 4000 x 100 pixels \(1024 x 26 at a long side of 1024\), expected'),
    ],
    ids=str,
)
def test_a_photograph_that_cannot_be_labelled(content, words, tmp_path):
    path = tmp_path / 'photo.png'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_image(path, content)
    with pytest.raises(UserError, match=words) as raised:
        read_photograph(path, reader())
    assert 'photo.png' in str(raised.value) and str(tmp_path) not in str(raised.value)


def reader(**loading) -> Segmentor:
    """Return a segmentor that can only load images."""
    pipeline = [dict(type='LoadImageFromFile', **loading), dict(type='PackSegInputs')]
    init_default_scope('mmseg')
    return Segmentor(torch.nn.Identity(), Compose(pipeline), ('sea',), PALETTE[:1])


def test_photographs_are_read_as_the_model_does_and_no_larger_than_needed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned by 90 degrees.
    write_image(tmp_path / 'a.jpg', (80, 40), exif=exif)
    assert read_photograph(tmp_path / 'a.jpg', reader()).rgb().shape == (80, 40, 3)
    stored = reader(color_type='color_ignore_orientation')
    assert read_photograph(tmp_path / 'a.jpg', stored).rgb().shape == (40, 80, 3)
    write_image(tmp_path / 'b.png', (2000, 500))
    for loading, shape in (({}, (256, 1024, 3)), (dict(color_type='grayscale'), (256, 1024))):
        loaded = read_photograph(tmp_path / 'b.png', reader(**loading))
        assert loaded.results['img'].shape == shape
        assert loaded.results['ori_shape'] == loaded.rgb().shape[:2] == (256, LONGEST_SIDE)


NO_PRESENCE, NO_CODEWORDS = 'does not predict class presence', 'not assign pixels to codewords'
NO_GATE = 'does not gate'


@pytest.mark.parametrize(
    'options, sentences',
    [
        ({}, []),
        ({'model.decode_head.use_se_loss': False}, [NO_PRESENCE]),
        (
            {
                'model.test_cfg.mode': 'slide',
                'model.test_cfg.crop_size': (32, 32),
                'model.test_cfg.stride': (24, 24),
            },
            [],
        ),
        ({'model.type': 'EncoderDecoder'}, [NO_PRESENCE, NO_CODEWORDS, NO_GATE]),
    ],
    ids=['everything', 'no SE loss', 'windows', 'stock segmentor'],
)
def test_what_a_model_does_not_tell_is_a_sentence(options, sentences, tiny_config, tmp_path):
    cfg = tiny_config(options)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    segmentor = load_segmentor(cfg, str(path), 'cpu')
    one, context = label_photograph(segmentor, segmentor.load(image))
    assert one.can_remove is not bool(sentences)
    assert one.labels(0).shape == (40, 60)
    shown = (
        panels.presence_panel(one, 0.5)
        + panels.codewords_panel(context)
        + panels.channels_panel(context)
    )
    found = [sentence for sentence in (NO_PRESENCE, NO_CODEWORDS, NO_GATE) if sentence in shown]
    assert found == sentences
    assert ('straight seams in the maps' in shown) == ('model.test_cfg.mode' in options)
    assert shown.count('em-map') == 0 if NO_GATE in sentences else 7
    if one.can_remove:
        # One class remains.
        assert len(np.unique(one.labels(1.0))) == 1
