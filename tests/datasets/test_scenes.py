"""Properties that make context scenes a test of context, checked on drawn scenes."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from sklearn.ensemble import RandomForestClassifier

from mmseg_encnet import config_file
from mmseg_encnet.datasets.scenes import CLASSES, PAIRS, PALETTE, Scene, draw_scene

PAIR_NUMBERS = range(len(PAIRS))
CUES = [name for pair in PAIRS for setting in pair for name in setting.cue_classes]


def test_scenes_are_drawn_from_their_numbers_alone():
    scene, again = draw_scene(3, 'train', 8), draw_scene(3, 'train', 8)
    assert np.array_equal(scene.image, again.image)
    assert np.array_equal(scene.label, again.label)
    others = [
        draw_scene(4, 'train', 8),
        draw_scene(3, 'val', 8),
        draw_scene(3, 'test', 8),
        draw_scene(3, 'train', 16),
    ]
    assert not any(np.array_equal(scene.label, other.label) for other in others)


def test_every_class_is_drawn_and_nothing_else():
    seen = np.zeros(256, dtype=np.int64)
    for index in range(40):
        scene = draw_scene(0, 'train', index)
        assert scene.image.shape == (128, 256, 3) and scene.image.dtype == np.uint8
        assert scene.label.shape == (128, 256) and scene.label.dtype == np.uint8
        seen += np.bincount(scene.label.ravel(), minlength=256)
    assert seen[: len(CLASSES)].all()
    assert not seen[len(CLASSES) :].any()
    assert len(set(PALETTE)) == len(CLASSES)


def test_every_scene_shows_twins_and_a_cue_of_its_own_settings_only():
    for index in range(100):
        scene = draw_scene(1, 'val', index)
        shown = {CLASSES[value] for value in np.unique(scene.label)}
        for number, pair in enumerate(PAIRS):
            here = scene.settings[number]
            elsewhere = pair[1 - pair.index(here)]
            assert here.twin in shown and elsewhere.twin not in shown
            assert shown & set(here.cue_classes)
            assert not shown & set(elsewhere.cue_classes)


def test_matched_scenes_differ_in_nothing_but_cues_and_names():
    for first in (*range(0, 64, 8), *range(2, 64, 8)):
        scenes = [draw_scene(0, 'val', first + place) for place in (0, 1, 4, 5)]
        assert len({scene.settings for scene in scenes}) == 4
        for one, other in itertools.combinations(scenes, 2):
            assert one.cue_boxes == other.cue_boxes
            # Only the boxes of cues to a pair whose setting differs may differ.
            free = np.zeros(one.label.shape, dtype=bool)
            for number in PAIR_NUMBERS:
                assert np.array_equal(one.twin_mask(number), other.twin_mask(number))
                boxes = inside(one.cue_boxes[number])
                assert boxes[one.cue_mask(number)].all()
                assert not (boxes & one.twin_mask(number)).any()
                if one.settings[number] != other.settings[number]:
                    free |= boxes
            assert np.array_equal(one.image[~free], other.image[~free])


def inside(boxes) -> np.ndarray:
    mask = np.zeros((128, 256), dtype=bool)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


@functools.cache
def patches(split: str, num_scenes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return patches around twin pixels, the cues in their scenes, their pairs and their settings.

    Only one scene of each matched eight is used. With all eight, a score of 50 % would be certain.
    """
    rng = np.random.default_rng(0)
    looks, cues, numbers, answers = [], [], [], []
    for layout in range(num_scenes):
        scene: Scene = draw_scene(0, split, 8 * layout + int(rng.integers(8)))
        padded = np.pad(scene.image, ((12, 12), (12, 12), (0, 0)), mode='reflect')
        present = [(scene.label == CLASSES.index(name)).any() for name in CUES]
        for number, pair in enumerate(PAIRS):
            rows, columns = np.nonzero(scene.twin_mask(number))
            for at in rng.integers(0, len(rows), 3):
                patch = padded[rows[at] : rows[at] + 25, columns[at] : columns[at] + 25]
                looks.append(patch[::3, ::3].ravel())
                cues.append(present)
                numbers.append(number)
                answers.append(pair.index(scene.settings[number]))
    return np.array(looks), np.array(cues), np.array(numbers), np.array(answers)


@pytest.mark.parametrize('number', PAIR_NUMBERS)
def test_a_patch_does_not_tell_twins_apart_and_the_cues_do(number):
    train, val = patches('train', 400), patches('val', 400)

    def score(features) -> float:
        forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
        of_pair, of_pair_val = train[2] == number, val[2] == number
        forest.fit(features(train)[of_pair], train[3][of_pair])
        return forest.score(features(val)[of_pair_val], val[3][of_pair_val])

    assert 0.44 < score(lambda part: part[0]) < 0.56
    assert score(lambda part: part[1]) == 1


def build(name: str):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = Config.fromfile(config_file(f'{name}_r18_context-scenes')).model
    return MODELS.build(cfg).double().eval()


def logits(model, image: torch.Tensor) -> torch.Tensor:
    size = tuple(image.shape[2:])
    return model.encode_decode(image, [dict(ori_shape=size, img_shape=size, pad_shape=size)])


def reach_of(model) -> int:
    """Return the distance in columns from an output pixel to the farthest input it depends on."""
    # With positive weights no influence cancels and every ReLU is active.
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)
    image = torch.rand(1, 3, 128, 256, dtype=torch.double, requires_grad=True)
    output = logits(model, image)
    reach = 0
    for column in range(0, 256, 5):
        (gradient,) = torch.autograd.grad(output[0, :, 64, column].sum(), image, retain_graph=True)
        touched = gradient.abs().sum((0, 1, 2)).nonzero()
        reach = max(reach, int((touched - column).abs().max()))
    return reach


def test_cues_lie_beyond_the_receptive_field_of_the_fcn():
    reach = reach_of(build('fcn'))
    assert reach == 73
    for index in range(200):
        scene = draw_scene(2, 'train', index)
        for number in PAIR_NUMBERS:
            twins = np.nonzero(scene.twin_mask(number))[1]
            cues = np.nonzero(scene.cue_mask(number))[1]
            assert max(cues.min() - twins.max(), twins.min() - cues.max()) > reach


@pytest.mark.parametrize(('name', 'alike'), [('fcn', True), ('encnet', False)])
@pytest.mark.parametrize('number', PAIR_NUMBERS)
def test_only_encnet_answers_differently_where_the_cues_differ(name, alike, number):
    model = build(name)
    # Scenes 0 and 5 differ in the setting of the ground, 0 and 4 in that of the town.
    scenes = [draw_scene(0, 'val', index) for index in (0, 5 - number)]
    images = [torch.from_numpy(scene.image).permute(2, 0, 1)[None] / 255.0 for scene in scenes]
    twins = torch.from_numpy(scenes[0].twin_mask(number))
    with torch.no_grad():
        one, other = (logits(model, image.double())[0, :, twins] for image in images)
    assert torch.allclose(one, other, rtol=1e-9, atol=0) == alike
