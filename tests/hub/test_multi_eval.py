"""The original's evaluator, by its name and with its calls."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmseg_encnet import EncNet, MultiEvalModule
from mmseg_encnet.errors import UserError
from mmseg_encnet.models import ContextEncoderDecoder


@pytest.fixture(scope='module')
def model() -> EncNet:
    torch.manual_seed(0)
    return EncNet(5, 'resnet50s', base_size=48, crop_size=32, aux=False).eval()


@pytest.mark.parametrize('size', [(20, 30), (60, 40)])
def test_one_padded_window_of_each_scale(model, size):
    """With windows as large as the image, the rule is short enough to be written out."""
    evaluator = MultiEvalModule(model, 5, scales=[0.5]).eval()
    image = torch.rand(1, 3, *size)
    sides = [round(24 * side / max(size)) for side in size]
    black = -torch.tensor(model.mean) / torch.tensor(model.std)
    window = black[:, None, None].repeat(1, 32, 32)[None]
    window[..., : sides[0], : sides[1]] = F.interpolate(
        image, sides, mode='bilinear', align_corners=True
    )
    with torch.no_grad():
        score = (model.evaluate(window) + model.evaluate(window.flip(3)).flip(3)).exp()
    score = F.interpolate(
        score[..., : sides[0], : sides[1]], size, mode='bilinear', align_corners=True
    )
    found = evaluator(image)
    assert not found.requires_grad
    torch.testing.assert_close(found, score)


def test_a_list_of_images_of_any_sizes(model):
    evaluator = MultiEvalModule(model, 5, None, False, [1.0, 1.5])
    assert (evaluator.nclass, evaluator.base_size, evaluator.crop_size) == (5, 48, 32)
    assert (evaluator.module is model, evaluator.flip) == (True, False)
    images = [torch.rand(3, 50, 40), torch.rand(3, 30, 30)]
    found = evaluator.parallel_forward(images)
    assert [score.shape for score in found] == [(1, 5, 50, 40), (1, 5, 30, 30)]
    for image, score in zip(images, found):
        torch.testing.assert_close(score, evaluator(image[None]))
        torch.testing.assert_close(score, evaluator.score(image[None]).detach())


def test_the_defaults_of_the_original(model):
    evaluator = MultiEvalModule(model, 5)
    assert evaluator.flip
    assert list(evaluator.scales) == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@pytest.mark.parametrize(
    'arguments, options, words',
    [
        ((6,), {}, ['nclass=6', '5 classes']),
        ((5,), dict(device_ids=[0, 1]), ['device_ids=[0, 1]', 'dist_test.sh']),
        ((5,), dict(scales=[]), ['scales=[]']),
        ((5,), dict(scales=[1.0, 0]), ['scales=[1.0, 0]', 'positive']),
        ((5,), dict(scales=['1']), ["scales=['1']"]),
    ],
)
def test_wrong_arguments_are_one_sentence(model, arguments, options, words):
    with pytest.raises(UserError) as caught:
        MultiEvalModule(model, *arguments, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_batch_and_another_segmentor(model):
    for shape in ((2, 3, 40, 40), (3, 40, 40)):
        with pytest.raises(UserError, match='parallel_forward'):
            MultiEvalModule(model, 5)(torch.rand(*shape))
    config = {key: value for key, value in model.cfg.model.items() if key != 'type'}
    with torch.device('meta'):
        other = ContextEncoderDecoder(**config)
    with pytest.raises(UserError, match='PublishedTTAModel'):
        MultiEvalModule(other, 5)
