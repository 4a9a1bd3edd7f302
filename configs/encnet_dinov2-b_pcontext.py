_base_ = [
    './_base_/models/encnet_dinov2-b.py',
    './_base_/datasets/pcontext_518.py',
    './_base_/schedules/adamw_layer_decay_pcontext.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
