# Augmentation and evaluation of PyTorch-Encoding, on which the published EncNet figures rest.
# A data set file adds the class of the data set and where it lies.
import math

base_size = 520
crop_size = (480, 480)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # The long side becomes 0.5 to 2 times the base size; Pillow averages when shrinking, cv2 not.
    dict(
        type='RandomResize',
        scale=(base_size, base_size),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
        backend='pillow',
    ),
    # Black before normalising; the toolbox's own padding comes after it and is the mean colour.
    dict(type='Pad', size=crop_size, pad_val=dict(img=0, seg=255)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(base_size, base_size), keep_ratio=True),
    # After Resize: predictions are compared at the size of the original image.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_scales = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(math.ceil(base_size * s),) * 2, keep_ratio=True)
                for s in tta_scales
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
# What the published figures rest on. The model makes the scales and windows itself.
published_tta_model = dict(type='PublishedTTAModel', base_size=base_size, scales=tta_scales)
published_tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = val_dataloader

# mIoU comes with aAcc, which is the pixel accuracy (pixAcc) of the papers.
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
