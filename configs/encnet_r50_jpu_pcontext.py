_base_ = [
    './_base_/models/encnet_r50_jpu.py',
    './_base_/datasets/pcontext.py',
    './_base_/schedules/pcontext.py',
    './_base_/default_runtime.py',
]

# FastFCN has the recipe of PyTorch-Encoding 0.5.0 and keeps PyTorch's default initialisation, too.
model = dict(
    neck=dict(init_cfg=dict(type='PyTorchDefault')),
    decode_head=dict(
        num_classes=_base_.num_classes,
        init_cfg=dict(type='PyTorchDefault'),
        loss_se_decode=dict(skip_unlabelled=False),
    ),
    auxiliary_head=dict(num_classes=_base_.num_classes, init_cfg=dict(type='PyTorchDefault')),
)
