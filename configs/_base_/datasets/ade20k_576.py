# The sizes of the published ResNet-101.
import math

_base_ = './ade20k.py'

base_size = 640
crop_size = (576, 576)

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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
