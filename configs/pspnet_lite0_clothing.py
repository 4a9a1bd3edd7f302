_base_ = [
    './_base_/models/pspnet_lite0.py',
    './_base_/datasets/clothing_416.py',
    './_base_/schedules/clothing_lite.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
