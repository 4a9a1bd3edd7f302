_base_ = './encnet_r50v1c_cityscapes.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/pretrain/third_party/resnet101_v1c-e67eebb6.pth'
        ),
    )
)
