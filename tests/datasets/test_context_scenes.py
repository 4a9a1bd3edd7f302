from __future__ import annotations

import numpy as np
import pytest
from mmengine import fileio
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_encnet.datasets.scenes import TWINS, draw_scene
from mmseg_encnet.errors import UserError

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture(autouse=True)
def toolbox():
    init_default_scope('mmseg')


def build(**kwargs):
    return DATASETS.build(dict(type='ContextScenesDataset', pipeline=PIPELINE, **kwargs))


def test_the_toolbox_transforms_read_what_was_drawn():
    dataset = build(split='val', num_scenes=5, seed=7)
    assert len(dataset) == 5
    sample, scene = dataset[3], draw_scene(7, 'val', 3)
    # The toolbox reads images as BGR.
    assert np.array_equal(sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1], scene.image)
    assert np.array_equal(sample['data_samples'].gt_sem_seg.data[0].numpy(), scene.label)


def test_metainfo_names_classes_colours_and_twins():
    meta = build().metainfo
    assert len(meta['classes']) == len(meta['palette']) == 16
    assert meta['twins'] == TWINS == (('sand', 'earth'), ('skyscraper', 'building'))


def test_a_subset_of_classes_can_be_asked_for():
    dataset = build(metainfo=dict(classes=('sky', 'grass')))
    assert set(np.unique(dataset[0]['data_samples'].gt_sem_seg.data)) == {0, 1, 255}


@pytest.mark.parametrize(
    ('kwargs', 'sentence'),
    [
        (dict(split='dev'), "split must be one of train, val, test, got 'dev'"),
        (dict(num_scenes=0), 'num_scenes must be positive, got 0'),
        (dict(seed=-1), 'seed must not be negative, got -1'),
    ],
)
def test_arguments_that_name_no_scenes_are_refused(kwargs, sentence):
    with pytest.raises(UserError, match=sentence):
        build(**kwargs)


@pytest.mark.parametrize(
    'uri',
    [
        'context-scenes://images/0/val/000012.jpg',
        'context-scenes://masks/0/val/000012.png',
        'context-scenes://images/0/dev/000012.png',
        'context-scenes://images/-1/val/000012.png',
        'context-scenes://000012.png',
    ],
)
def test_malformed_addresses_are_refused_by_name(uri):
    assert not fileio.exists(uri)
    with pytest.raises(UserError, match=uri):
        fileio.get(uri)


def test_addresses_behave_like_files():
    uri = build(split='test').get_data_info(4)['img_path']
    assert uri == 'context-scenes://images/0/test/000004.png'
    assert fileio.exists(uri)
    assert fileio.get(uri).startswith(b'\x89PNG')
    with pytest.raises(UserError, match='image'):
        fileio.get_text(uri)
