_base_ = [
    './_base_/models/encnet_dinov3-b.py',
    './_base_/datasets/ade20k_512.py',
    './_base_/schedules/adamw_layer_decay_160k.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
