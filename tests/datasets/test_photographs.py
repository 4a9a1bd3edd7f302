from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS


@pytest.mark.parametrize(
    ('name', 'num_classes', 'colour'),
    [
        ('MSRC21Dataset', 21, ('cow', [0, 0, 128])),
        ('CamVidDataset', 11, ('road', [128, 64, 128])),
        ('ClothingDataset', 31, ('skin', [128, 0, 0])),
    ],
)
def test_split_folders_are_read(name, num_classes, colour, tmp_path):
    for split, index in (('train', 3), ('val', 255)):
        for kind in ('images', 'labels'):
            (tmp_path / kind / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'images' / split / 'a.jpg'), np.zeros((4, 6, 3), np.uint8))
        cv2.imwrite(str(tmp_path / 'labels' / split / 'a.png'), np.full((4, 6), index, np.uint8))

    init_default_scope('mmseg')
    dataset = DATASETS.build(
        dict(
            type=name,
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs'),
            ],
        )
    )
    assert len(dataset) == 1
    assert set(dataset[0]['data_samples'].gt_sem_seg.data.unique().tolist()) == {255}

    meta = dataset.metainfo
    assert len(meta['classes']) == len(meta['palette']) == num_classes
    assert len({tuple(entry) for entry in meta['palette']}) == num_classes
    assert meta['palette'][meta['classes'].index(colour[0])] == colour[1]
