"""Cached features of a frozen backbone give the same training as computed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming import RepeatedViews
from mmseg_encnet.running.hooks.feature_cache_hook import FeatureCache, check_frozen
from mmseg_encnet.running.runner import EncNetRunner

ITERATIONS = 6
FROZEN = {'model.backbone.frozen_stages': 4, 'model.backbone.norm_eval': True}


class LossRecorder(Hook):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


@pytest.fixture
def train(tiny_config):
    """Return a function that trains and returns losses and the hook."""

    def run(name: str, hook: dict | None, views: int = 1, **options) -> tuple[list[float], object]:
        cfg = tiny_config({**FROZEN, **options}, name)
        cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS // 2)
        load, labels, *augmentation, pack = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [
            load,
            labels,
            dict(type='RepeatedViews', transforms=augmentation, num_views=views),
            pack,
        ]
        cfg.randomness = dict(seed=0)
        cfg.custom_hooks = [dict(type='FeatureCacheHook', **hook)] if hook is not None else []
        runner = EncNetRunner.from_cfg(cfg)
        recorder = LossRecorder()
        runner.register_hook(recorder)
        runner.train()
        assert len(recorder.losses) == ITERATIONS
        assert 'forward' not in vars(runner.model.backbone)
        return recorder.losses, next(
            (h for h in runner.hooks if type(h).__name__ == 'FeatureCacheHook'), None
        )

    return run


@pytest.mark.parametrize('folder', [False, True])
def test_the_losses_are_those_of_a_training_without_cache(train, tmp_path, folder):
    settings = dict(folder=str(tmp_path / 'features')) if folder else {}
    expected, _ = train('plain', None, views=2)
    losses, hook = train('cached', settings, views=2)
    assert losses == pytest.approx(expected, rel=1e-4)
    # Four training images in two views, and two validation images, validated twice.
    assert hook.cache.computed <= 4 * 2 + 2
    assert hook.cache.reused >= 2 + 2 * ITERATIONS - 8
    if folder:
        losses, hook = train('again', settings, views=2)
        assert losses == pytest.approx(expected, rel=1e-4)
        assert hook.cache.computed == 0


def test_features_beyond_the_limit_are_computed_each_time():
    backbone = frozen_backbone()
    image = torch.rand(2, 3, 32, 32)
    size = sum(feature[0].nbytes for feature in backbone(image))
    expected = backbone(image)
    cache = FeatureCache(backbone, None, size)
    for _ in range(2):
        for feature, other in zip(cache(image), expected):
            torch.testing.assert_close(feature, other)
    assert (cache.computed, cache.reused, cache.rejected) == (3, 1, 2)


def test_other_weights_and_images_have_other_features(tmp_path):
    image = torch.rand(1, 3, 32, 32)
    caches = []
    for seed in (0, 1):
        backbone = frozen_backbone(seed)
        cache = FeatureCache(backbone, tmp_path, 2**30)
        torch.testing.assert_close(cache(image), backbone(image))
        torch.testing.assert_close(cache(image + 1), backbone(image + 1))
        caches.append(cache)
    assert [cache.computed for cache in caches] == [2, 2]
    assert len(list(tmp_path.iterdir())) == 2


def frozen_backbone(seed: int = 0):
    init_default_scope('mmseg')
    torch.manual_seed(seed)
    settings = dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, frozen_stages=4)
    backbone = MODELS.build(settings)
    backbone.train()
    return backbone


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(frozen_stages=3), r'layer4\.\S+ of ResNetV1s is trained; freeze it'),
        (dict(frozen_stages=-1), 'is trained'),
    ],
)
def test_a_backbone_that_is_trained_is_refused(settings, sentence):
    init_default_scope('mmseg')
    backbone = MODELS.build(
        dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8, **settings)
    )
    with pytest.raises(UserError, match=sentence):
        check_frozen(backbone)


def test_a_backbone_in_training_mode_is_refused():
    backbone = frozen_backbone()
    backbone.layer4[0].bn1.train()
    with pytest.raises(UserError, match=r'layer4\.0\.bn1 of ResNetV1s is in training mode'):
        check_frozen(backbone)


def test_the_limit_must_be_positive(train):
    with pytest.raises(UserError, match='max_gb of FeatureCacheHook must be positive, got 0'):
        train('none', dict(max_gb=0))


def view(path: Path, views: RepeatedViews) -> bytes:
    image = np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)
    results = views(dict(img_path=str(path), img=image, img_shape=(48, 48), seg_fields=[]))
    return results['img'].tobytes()


def test_an_image_has_as_many_views_as_named(tmp_path):
    transforms = [dict(type='RandomCrop', crop_size=(8, 8)), dict(type='RandomFlip', prob=0.5)]
    views = RepeatedViews(transforms, 3)
    before = np.random.get_state()[2]
    found = {view(tmp_path / 'a.jpg', views) for _ in range(40)}
    assert len(found) == 3
    assert found != {view(tmp_path / 'b.jpg', views) for _ in range(40)}
    assert np.random.get_state()[2] != before
    with pytest.raises(UserError, match='num_views of RepeatedViews must be positive, got 0'):
        RepeatedViews(transforms, 0)
