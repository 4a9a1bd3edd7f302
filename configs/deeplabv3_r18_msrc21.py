_base_ = [
    './_base_/models/deeplabv3_r50.py',
    './_base_/datasets/msrc21.py',
    './_base_/schedules/msrc21.py',
    './_base_/default_runtime.py',
]

# The same backbone, auxiliary head and head width as encnet_r18_msrc21.py.
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(depth=18, stem_channels=64, base_channels=32, init_cfg=None),
    decode_head=dict(in_channels=256, channels=128, num_classes=_base_.num_classes),
    auxiliary_head=dict(in_channels=128, num_classes=_base_.num_classes),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(96, 96)),
)
