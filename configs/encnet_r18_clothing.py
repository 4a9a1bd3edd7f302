_base_ = [
    './_base_/models/encnet_r18.py',
    './_base_/datasets/clothing.py',
    './_base_/schedules/clothing.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(192, 192)),
)
