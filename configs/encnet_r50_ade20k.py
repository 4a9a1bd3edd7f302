_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/ade20k.py',
    './_base_/default_runtime.py',
]

model = dict(
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
