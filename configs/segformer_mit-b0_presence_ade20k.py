_base_ = [
    './_base_/models/segformer_mit-b0.py',
    './_base_/datasets/ade20k_512.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/default_runtime.py',
]

# SegFormer that also predicts which classes are present, from its last stage.
model = dict(
    type='ContextEncoderDecoder',
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(
        type='PresenceHead',
        in_channels=256,
        in_index=3,
        num_classes=_base_.num_classes,
        norm_cfg=dict(type='SyncBN'),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
