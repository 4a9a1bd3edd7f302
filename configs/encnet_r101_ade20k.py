_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/ade20k_576.py',
    './_base_/schedules/ade20k.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pytorch-encoding://resnet101s')),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(384, 384)),
)
