_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/pcontext60.py',
    './_base_/schedules/pcontext.py',
    './_base_/default_runtime.py',
]

model = dict(
    decode_head=dict(num_classes=_base_.num_classes, add_lateral=True),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
