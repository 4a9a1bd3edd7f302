# Augmentation and evaluation of PyTorch-Encoding 0.5.0, the release with which the published EncNet
# weights and results appeared. A data set file adds the class of the data set and its location.
base_size = 520
crop_size = (480, 480)

__recipe = __import__('mmseg_encnet').published_recipe(
    base_size=base_size, crop_size=crop_size, release='v0.5.0'
)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_scales = __recipe.tta_scales
tta_pipeline = __recipe.tta_pipeline
# Evaluation as published (tools/test.py --published-tta). The model scales the images and cuts the
# windows itself.
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

# IoUMetric also reports aAcc, the pixel accuracy (pixAcc) of the papers.
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
