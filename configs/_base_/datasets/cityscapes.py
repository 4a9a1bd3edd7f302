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
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
__resize, __pad, __crop = train_pipeline[2:5]
__resize.scale = test_pipeline[1].scale = (base_size, base_size)
__pad.size = __crop.crop_size = crop_size
for __resize, __scale in zip(tta_pipeline[1].transforms[0], _base_.tta_scales):
    __resize.scale = (math.ceil(base_size * __scale),) * 2
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
