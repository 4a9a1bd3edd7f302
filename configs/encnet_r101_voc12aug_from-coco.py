_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/voc12aug_trainval.py',
    './_base_/schedules/voc12aug_trainval.py',
    './_base_/default_runtime.py',
]

# Second stage of the published VOC schedule: fine-tunes the network of the first stage. The lateral
# connections and their fusion are new.
model = dict(
    backbone=dict(depth=101, init_cfg=None),
    decode_head=dict(num_classes=_base_.num_classes, add_lateral=True),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
# The last checkpoint in this folder; its number depends on the number of images. Pass the file to
# tools other than those of this package.
load_from = 'work_dirs/encnet_r101_coco21'
