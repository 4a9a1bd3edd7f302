_base_ = './encnet_r50.py'

# The network of MMSegmentation's EncNet checkpoints, which load with strict=True.
model = dict(
    backbone=dict(
        type='ResNetV1c',
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/pretrain/third_party/resnet50_v1c-2cccc1ad.pth'
        ),
    ),
    decode_head=dict(align_corners=False, loss_decode=dict(type='CrossEntropyLoss')),
    auxiliary_head=dict(
        align_corners=False, loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)
    ),
    test_cfg=dict(_delete_=True, mode='whole'),
)
