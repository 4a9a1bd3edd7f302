"""Pipelines from named sizes, in configs and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_encnet import config_file, published_recipe, rotated, toolbox_recipe
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError

RECIPES = {
    'published': (published_recipe, dict(base_size=100, crop_size=(60, 90))),
    'toolbox': (toolbox_recipe, dict(scale=(200, 100), crop_size=(60, 90))),
}


def by_type(pipeline: list[dict]) -> dict[str, dict]:
    return {step['type']: step for step in pipeline}


@pytest.mark.parametrize('name', RECIPES)
def test_sizes_reach_every_step(name):
    build, sizes = RECIPES[name]
    recipe = build(**sizes)
    scale = (200, 100) if name == 'toolbox' else (100, 100)
    train = by_type(recipe.train_pipeline)
    assert train['RandomResize']['scale'] == scale
    assert train['RandomCrop']['crop_size'] == (60, 90)
    assert by_type(recipe.test_pipeline)['Resize']['scale'] == scale
    views = by_type(recipe.tta_pipeline)['TestTimeAug']['transforms'][0]
    assert len(views) == len(recipe.tta_scales) == 6
    if name == 'published':
        # Pad takes width and height.
        assert train['Pad'] == dict(type='Pad', size=(90, 60), pad_val=dict(img=0, seg=255))
        assert [view['scale'][0] for view in views] == [50, 75, 100, 125, 150, 175]


def test_label_of_the_padding():
    recipe = published_recipe(base_size=100, crop_size=(60, 90), padding_label=0)
    assert by_type(recipe.train_pipeline)['Pad']['pad_val'] == dict(img=0, seg=0)


def test_rotation_goes_before_the_padding():
    steps = published_recipe(base_size=100, crop_size=(60, 90)).train_pipeline
    before = [dict(step) for step in steps]
    turned = rotated(steps, degrees=10, padding_label=0)
    index = [step['type'] for step in turned].index('Pad') - 1
    assert turned[index] == dict(type='RandomRotate', prob=1.0, degree=10, pad_val=0, seg_pad_val=0)
    assert turned[:index] + turned[index + 1 :] == steps == before


@pytest.mark.parametrize(
    'name', ['encnet_r50_voc12aug', 'encnet_r18_camvid', 'encnet_swin-t_ade20k']
)
def test_a_resolved_config_is_written_and_read_unchanged(name, tmp_path):
    cfg = Config.fromfile(config_file(name))
    cfg.dump(tmp_path / 'resolved.py')
    assert Config.fromfile(tmp_path / 'resolved.py').to_dict() == cfg.to_dict()


def test_a_config_elsewhere_takes_another_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('own.py').write_text(
        "_base_ = __import__('mmseg_encnet').config_file('encnet_r50_pcontext')\n"
        "__recipe = __import__('mmseg_encnet').published_recipe(\n"
        '    base_size=260, crop_size=(240, 240)\n'
        ')\n'
        'train_dataloader = dict(dataset=dict(pipeline=__recipe.train_pipeline))\n'
    )
    pipeline = load_config('own.py').train_dataloader.dataset.pipeline
    assert by_type(pipeline)['RandomCrop'].crop_size == (240, 240)


def test_steps_are_set_by_type():
    key = 'train_dataloader.dataset.pipeline'
    cfg = load_config(
        'encnet_r18_msrc21',
        {
            f'{key}.RandomCrop.crop_size': (64, 64),
            f'{key}.3.size': (64, 64),
            'tta_pipeline.TestTimeAug.transforms.0.1.scale': (32, 32),
        },
    )
    steps = by_type(cfg.train_dataloader.dataset.pipeline)
    assert steps['RandomCrop'].crop_size == steps['Pad'].size == (64, 64)
    assert steps['RandomResize'].scale == (160, 160)
    assert cfg.tta_pipeline[1].transforms[0][1].scale == (32, 32)


@pytest.mark.parametrize('step', ['RandomCorp.crop_size', '9.crop_size', 'model.crop_size'])
def test_an_unknown_step_is_refused(step):
    key = f'train_dataloader.dataset.pipeline.{step}'
    with pytest.raises(UserError, match=key):
        load_config('encnet_r18_msrc21', {key: (64, 64)})


@pytest.mark.parametrize(
    'release, kind, size',
    [
        ('v0.5.0', 'RandomShortSideResize', dict(base_size=100)),
        ('v1.2.0', 'RandomResize', dict(scale=(100, 100))),
    ],
)
def test_each_release_scales_its_side(release, kind, size):
    sizes = dict(base_size=100, crop_size=(60, 90))
    recipe = published_recipe(release=release, **sizes)
    steps = by_type(recipe.train_pipeline)
    assert steps[kind].items() >= size.items()
    assert ('RandomGaussianBlur' in steps) == (release == 'v0.5.0')
    assert (recipe == published_recipe(**sizes)) == (release == 'v1.2.0')


def test_an_unknown_release_is_refused():
    with pytest.raises(UserError, match=r"'v0\.9'.*v0\.5\.0, v1\.2\.0"):
        published_recipe(base_size=100, crop_size=(60, 90), release='v0.9')
