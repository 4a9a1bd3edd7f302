_base_ = [
    './_base_/models/encnet_r50.py',
    './_base_/datasets/coco21.py',
    './_base_/schedules/coco21.py',
    './_base_/default_runtime.py',
]

# First stage of the published VOC schedule. It has lateral connections because the two stages that
# follow fine-tune the whole network.
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pytorch-encoding://resnet101s')),
    decode_head=dict(num_classes=_base_.num_classes, add_lateral=True),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
