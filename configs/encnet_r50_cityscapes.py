_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/cityscapes.py',
    './_base_/schedules/cityscapes.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    # Release 1.2.0 drops single values, not channels.
    decode_head=dict(num_classes=_base_.num_classes, channel_dropout=False),
    auxiliary_head=dict(num_classes=_base_.num_classes, channel_dropout=False),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(512, 512)),
)
