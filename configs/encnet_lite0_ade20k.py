_base_ = [
    './_base_/models/encnet_lite0.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/ade20k.py',
    './_base_/default_runtime.py',
]

# A schedule for GPUs that trains the whole backbone.
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
