import math

_base_ = './published.py'

num_classes = 21
# Seen from the folder that training starts in. Given on the command line as
# `--cfg-options data_root=DIR`, it reaches all data loaders.
data_root = '../shared/data/msrc21'

# The published sizes, 520 and 480, for photographs of half their width: two CPU cores are enough.
base_size = 160
crop_size = (144, 144)

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
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='MSRC21Dataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='MSRC21Dataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
