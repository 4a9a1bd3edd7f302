_base_ = [
    './_base_/models/fcn_lite0.py',
    './_base_/datasets/clothing_480_whole.py',
    './_base_/schedules/clothing_lite.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.view_size),
    backbone=dict(frozen_stages=4),
    decode_head=dict(
        num_classes=_base_.num_classes, loss_decode=dict(class_weight=_base_.class_weight)
    ),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
