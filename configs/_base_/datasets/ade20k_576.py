# The sizes of the published ResNet-101.
import math

_base_ = './ade20k.py'

base_size = 640
crop_size = (576, 576)

# The steps stay those of published.py, the sizes change.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
__resize, __pad, __crop = train_pipeline[2:5]
__resize.scale = test_pipeline[1].scale = (base_size, base_size)
__pad.size = __crop.crop_size = crop_size
for __resize, __scale in zip(tta_pipeline[1].transforms[0], _base_.tta_scales):
    __resize.scale = (math.ceil(base_size * __scale),) * 2
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
