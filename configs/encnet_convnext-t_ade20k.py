_base_ = [
    './_base_/models/encnet_r50_jpu.py',
    './_base_/datasets/ade20k_512.py',
    './_base_/schedules/adamw_layer_decay_160k.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        _delete_=True,
        type='HFBackbone',
        config=dict(model_type='convnext', drop_path_rate=0.4),
        # The stages with strides 8, 16 and 32; 0 is the stem.
        out_indices=(2, 3, 4),
        init_cfg=dict(type='Pretrained', checkpoint='huggingface://facebook/convnext-tiny-224'),
    ),
    neck=dict(in_channels=(192, 384, 768)),
    decode_head=dict(in_channels=[192, 384, 2048], num_classes=_base_.num_classes),
    auxiliary_head=dict(in_channels=384, num_classes=_base_.num_classes),
    test_cfg=dict(_delete_=True, mode='whole'),
)
