_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/voc12.py',
    './_base_/schedules/voc12.py',
    './_base_/default_runtime.py',
]

# Third stage of the published VOC schedule: fine-tunes the network of the second stage.
model = dict(
    backbone=dict(depth=101, init_cfg=None),
    decode_head=dict(num_classes=_base_.num_classes, add_lateral=True),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
load_from = 'work_dirs/encnet_r101_voc12aug_from-coco/iter_35450.pth'
