_base_ = [
    './_base_/models/encnet_r50_jpu.py',
    './_base_/datasets/ade20k_512.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/default_runtime.py',
]

# The backbone of SegNeXt. It returns all four stages, of which the neck leaves out the first.
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        _delete_=True,
        type='MSCAN',
        embed_dims=[32, 64, 160, 256],
        mlp_ratios=[8, 8, 4, 4],
        drop_path_rate=0.1,
        depths=[3, 3, 5, 2],
        norm_cfg=_base_.norm_cfg,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segnext/'
            'mscan_t_20230227-119e8c9f.pth',
        ),
    ),
    neck=dict(in_channels=(32, 64, 160, 256), start_level=1),
    decode_head=dict(in_channels=[64, 160, 2048], num_classes=_base_.num_classes),
    auxiliary_head=dict(in_channels=160, num_classes=_base_.num_classes),
    test_cfg=dict(_delete_=True, mode='whole'),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0), neck=dict(lr_mult=10.0)))
)
