_base_ = [
    './_base_/models/encnet_lite2.py',
    './_base_/datasets/msrc21_480_whole.py',
    './_base_/schedules/msrc21_lite.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.view_size),
    backbone=dict(frozen_stages=3),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
