# Scenes are drawn from a seed when they are read (docs/context_scenes.md): there is no data_root.
dataset_type = 'ContextScenesDataset'
num_classes = 16
crop_size = (128, 256)

# Neither scaling nor cropping: they would move cues closer to the twins or cut them off.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 128), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(256, 128), keep_ratio=True)],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    # In order, so that a batch holds two layouts in opposite settings: the appearance of a layout
    # then cancels out of the gradient, and the evidence of its cues remains.
    sampler=dict(type='SeededInfiniteSampler', shuffle=False),
    dataset=dict(type=dataset_type, split='train', num_scenes=4000, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, split='val', num_scenes=200, test_mode=True, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU']),
    dict(type='TwinPixelAccuracy'),
]
test_evaluator = val_evaluator
