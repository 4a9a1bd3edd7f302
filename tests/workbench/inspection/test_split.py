"""A split's samples after the pipeline, and its labels before."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.inspection.split import InspectedSplit


def label_files(root, split):
    return [np.array(Image.open(path)) for path in sorted((root / 'labels' / split).iterdir())]


def test_training_samples_are_what_the_network_gets(tiny_config, tiny_data):
    split = InspectedSplit(tiny_config({'model.data_preprocessor.size': (48, 56)}), 'train')
    samples = split.samples(3, seed=0)
    assert len(samples) == 3 and len(samples.classes) == len(samples.palette) == 21
    for sample in samples:
        label = np.array(Image.open(tiny_data / 'labels' / 'train' / f'{sample.name[0]}.png'))
        assert set(np.unique(sample.label)) <= {*np.unique(label), 255}
        # The crop is padded with the mean colour, and ignored.
        assert sample.image.shape == (48, 56, 3) and sample.label.shape == (48, 56)
        assert (sample.image[:, 48:] == [124, 116, 104]).all()
        assert (sample.label[:, 48:] == 255).all()


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'model.data_preprocessor.bgr_to_rgb': False},
        {'model.data_preprocessor': None},
        # Not packed: the dictionary of the transforms.
        {
            'val_dataloader.dataset.pipeline': [
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(64, 64), keep_ratio=True),
                dict(type='LoadAnnotations'),
            ]
        },
    ],
)
def test_colours_are_those_of_the_photograph(options, tiny_config, tiny_data):
    samples = list(InspectedSplit(tiny_config(options), 'val').samples(9, seed=0))
    assert [sample.name for sample in samples] == ['0.jpg', '1.jpg']
    for sample, label in zip(samples, label_files(tiny_data, 'val')):
        photograph = Image.open(tiny_data / 'images' / 'val' / sample.name)
        height, width = sample.image.shape[:2]
        assert max(height, width) == 64
        # Two resizing methods differ slightly at edges; swapped channels differ far more.
        expected = np.array(photograph.resize((width, height), Image.Resampling.BILINEAR))
        assert np.abs(expected.astype(int) - sample.image).mean() < 8
        assert (sample.label == label).all()


def test_the_seed_settles_choice_and_augmentation(tiny_config):
    split = InspectedSplit(tiny_config(), 'train')

    def drawn(seed):
        return [(sample.name, sample.image.tobytes()) for sample in split.samples(2, seed)]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(4)}) > 1


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('jobs', [1, 2])
def test_labels_are_counted_as_they_lie_in_their_files(split, jobs, tiny_config, tiny_data):
    statistics = InspectedSplit(tiny_config(), split).labels().statistics(jobs)
    labels = label_files(tiny_data, 'train' if split == 'train' else 'val')
    assert statistics.images == len(labels)
    pixels = [sum(int((label == index).sum()) for label in labels) for index in range(21)]
    assert statistics.pixels.tolist() == pixels
    assert statistics.ignored_pixels == sum(int((label == 255).sum()) for label in labels)


REDUCED = dict(type='ADE20KDataset', img_suffix='.jpg', seg_map_suffix='.png')


def test_labels_are_loaded_as_the_config_loads_them(tiny_config, tiny_data):
    options = {f'train_dataloader.dataset.{key}': value for key, value in REDUCED.items()}
    statistics = InspectedSplit(tiny_config(options), 'train').labels().statistics(1)
    labels = np.concatenate([label.ravel() for label in label_files(tiny_data, 'train')])
    assert len(statistics.classes) == 150
    # Value 1 in the file is class 0, and value 0 is ignored.
    assert statistics.pixels[:20].tolist() == [int((labels == n).sum()) for n in range(1, 21)]
    assert statistics.ignored_pixels == np.isin(labels, (0, 255)).sum()


@pytest.mark.parametrize(
    'wrapper, times',
    [
        (dict(type='RepeatDataset', times=3), 3),
        (dict(type='MultiImageMixDataset', pipeline=[dict(type='RandomFlip', prob=1.0)]), 1),
    ],
)
def test_labels_of_a_wrapped_data_set(wrapper, times, tiny_config):
    cfg = tiny_config()
    alone = InspectedSplit(cfg, 'train').labels().statistics(1)
    cfg.train_dataloader.dataset = dict(wrapper, dataset=cfg.train_dataloader.dataset)
    wrapped = InspectedSplit(cfg, 'train').labels().statistics(1)
    assert wrapped.pixels.tolist() == (alone.pixels * times).tolist()


def test_joined_data_sets(tiny_config):
    cfg = tiny_config()
    parts = [
        cfg.train_dataloader.dataset,
        dict(cfg.train_dataloader.dataset, data_prefix=cfg.val_dataloader.dataset.data_prefix),
    ]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    split = InspectedSplit(cfg, 'train')
    assert split.labels().statistics(1).images == len(split.samples(10, seed=0)) == 6


WITHOUT_LABELS = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]


@pytest.mark.parametrize(
    'options, split, act, words',
    [
        ({}, 'all', lambda split: split, ["'all'", 'train, val, test']),
        (
            {'test_dataloader': None},
            'test',
            lambda split: split,
            ["'test'", 'no test_dataloader', 'train, val'],
        ),
        ({}, 'train', lambda split: split.samples(0, 0), ['count must be positive', 'got 0']),
        (
            {},
            'train',
            lambda split: split.labels().statistics(0),
            ['jobs must be positive', 'got 0'],
        ),
        (
            {'val_dataloader.dataset.pipeline': WITHOUT_LABELS},
            'val',
            lambda split: split.labels(),
            ['the val split loads no labels', 'LoadAnnotations'],
        ),
        (
            {'val_dataloader.dataset.pipeline': WITHOUT_LABELS},
            'val',
            lambda split: list(split.samples(1, 0)),
            ['.jpg has no label', 'LoadAnnotations'],
        ),
        (
            {
                'train_dataloader.dataset.type': 'BaseSegDataset',
                'train_dataloader.dataset.img_suffix': '.jpg',
                'train_dataloader.dataset.seg_map_suffix': '.png',
            },
            'train',
            lambda split: split.labels(),
            ['BaseSegDataset defines no classes', 'metainfo'],
        ),
    ],
)
def test_what_cannot_be_inspected(options, split, act, words, tiny_config):
    with pytest.raises(UserError) as caught:
        act(InspectedSplit(tiny_config(options), split))
    assert all(word in str(caught.value) for word in words), caught.value


def test_labels_without_any_class(tiny_config, tiny_data):
    for path in (tiny_data / 'labels' / 'val').iterdir():
        Image.fromarray(np.full_like(np.array(Image.open(path)), 255)).save(path)
    with pytest.raises(UserError, match='all pixels of the 2 labels of MSRC21Dataset are ignored'):
        InspectedSplit(tiny_config(), 'val').labels().statistics(1)


def test_versions_of_test_time_augmentation_are_refused(tiny_config):
    cfg = tiny_config()
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    with pytest.raises(UserError, match='test-time augmentation'):
        list(InspectedSplit(cfg, 'test').samples(1, 0))
