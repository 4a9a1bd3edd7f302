# MMSegmentation's own augmentation for ADE20K, under which its checkpoints were trained.
_base_ = './ade20k.py'

base_size = (2048, 512)
crop_size = (512, 512)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=base_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
__load, __resize, *__rest = _base_.test_pipeline
test_pipeline = [__load, dict(__resize, scale=base_size), *__rest]
__load, __tta = _base_.tta_pipeline
tta_pipeline = [
    __load,
    dict(
        __tta,
        transforms=[
            [dict(type='Resize', scale_factor=s, keep_ratio=True) for s in _base_.tta_scales],
            *__tta.transforms[1:],
        ],
    ),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
