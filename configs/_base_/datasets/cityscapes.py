import math

_base_ = './published.py'

num_classes = 19
data_root = 'data/cityscapes'

# The original names epochs and rate for Cityscapes but no sizes, and no figure. Its base size, 520,
# is about the size at which Pascal images come; for Cityscapes that is 2048. The crop of 768 is the
# one that DANet, built on the same code and schedule, trains with.
base_size = 2048
crop_size = (768, 768)

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

train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
