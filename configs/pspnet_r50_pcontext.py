_base_ = [
    './_base_/models/pspnet_r50.py',
    './_base_/datasets/pcontext.py',
    './_base_/schedules/pcontext.py',
    './_base_/default_runtime.py',
]

model = dict(
    decode_head=dict(num_classes=_base_.num_classes, init_cfg=dict(type='PyTorchDefault')),
    auxiliary_head=dict(num_classes=_base_.num_classes, init_cfg=dict(type='PyTorchDefault')),
)
