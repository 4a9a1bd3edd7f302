_base_ = [
    './_base_/models/encnet_r50v1c.py',
    './_base_/datasets/cityscapes_769x769.py',
    './_base_/schedules/mmseg_80k.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes, align_corners=True),
    auxiliary_head=dict(num_classes=_base_.num_classes, align_corners=True),
    test_cfg=dict(mode='slide', crop_size=_base_.crop_size, stride=(513, 513)),
)

# MMSegmentation's learning rate for Cityscapes is for 4 GPUs with 2 images each.
auto_scale_lr = dict(base_batch_size=8)
