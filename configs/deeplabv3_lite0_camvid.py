_base_ = [
    './_base_/models/deeplabv3_lite0.py',
    './_base_/datasets/camvid_416.py',
    './_base_/schedules/camvid_lite.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=_base_.num_classes, loss_decode=dict(class_weight=_base_.class_weight)
    ),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
