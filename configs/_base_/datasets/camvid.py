import math

_base_ = './published.py'

num_classes = 11
# Seen from the folder that training starts in. Given on the command line as
# `--cfg-options data_root=DIR`, it reaches all data loaders.
data_root = '../shared/data/camvid'

# The published sizes, 520 and 480, for photographs of half their width: two CPU cores are enough.
base_size = 240
crop_size = (216, 216)

# The steps stay those of published.py, the sizes change.
__load, __annotate, __resize, __pad, __crop, *__rest = _base_.train_pipeline
train_pipeline = [
    __load, __annotate,
    dict(__resize, scale=(base_size, base_size)),
    dict(__pad, size=crop_size),
    dict(__crop, crop_size=crop_size), *__rest
]
__load, __resize, *__rest = _base_.test_pipeline
test_pipeline = [__load, dict(__resize, scale=(base_size, base_size)), *__rest]
__load, __tta = _base_.tta_pipeline
tta_pipeline = [
    __load,
    dict(
        __tta,
        transforms=[[
            dict(__resize, scale=(math.ceil(base_size * s), ) * 2) for s in _base_.tta_scales
        ], *__tta.transforms[1:]]),
]
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        type='CamVidDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='CamVidDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
