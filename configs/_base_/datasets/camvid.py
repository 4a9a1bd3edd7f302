import math

# In the same layout.
_base_ = './msrc21.py'

num_classes = 11
data_root = '../shared/data/camvid'

base_size = 240
crop_size = (216, 216)

# The steps stay those of published.py, the sizes change.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
__resize, __pad, __crop = train_pipeline[2:5]
__resize.scale = test_pipeline[1].scale = (base_size, base_size)
__pad.size = __crop.crop_size = crop_size
for __resize, __scale in zip(tta_pipeline[1].transforms[0], _base_.tta_scales):
    __resize.scale = (math.ceil(base_size * __scale),) * 2
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    batch_size=4, dataset=dict(type='CamVidDataset', data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='CamVidDataset', data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
