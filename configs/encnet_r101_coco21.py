_base_ = [
    './_base_/models/encnet_r50_released.py',
    './_base_/datasets/coco21.py',
    './_base_/schedules/coco21.py',
    './_base_/default_runtime.py',
]

# First stage of the published VOC schedule, without lateral connections: PyTorch-Encoding has them
# only for data sets whose name starts with p (get_encnet). The next stages add them.
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pytorch-encoding://resnet101s')),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
