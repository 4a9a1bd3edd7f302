_base_ = './encnet_r50_ade20k.py'

model = dict(
    backbone=dict(
        type='ResNeSt',
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/pretrain/third_party/resnest50_d2-7497a55b.pth'
        ),
    )
)
