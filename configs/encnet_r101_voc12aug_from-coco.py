_base_ = [
    './_base_/models/encnet_r50.py',
    './_base_/datasets/voc12aug_trainval.py',
    './_base_/schedules/voc12aug_trainval.py',
    './_base_/default_runtime.py',
]

# Second stage of the published VOC schedule: fine-tunes the network of the first stage.
model = dict(
    backbone=dict(depth=101, init_cfg=None),
    decode_head=dict(num_classes=_base_.num_classes, add_lateral=True),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
load_from = 'work_dirs/encnet_r101_coco21/iter_173460.pth'
