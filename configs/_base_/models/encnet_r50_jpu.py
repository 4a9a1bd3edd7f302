_base_ = './encnet_r50.py'

# FastFCN (arXiv 1903.11816): Joint Pyramid Upsampling restores stride 8 after an undilated
# backbone. There are no lateral connections, because the neck already fuses the same three stages.
model = dict(
    backbone=dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(1, 2, 3)),
    neck=dict(
        type='JPU',
        in_channels=(512, 1024, 2048),
        mid_channels=512,
        dilations=(1, 2, 4, 8),
        align_corners=True,
        norm_cfg=_base_.norm_cfg,
    ),
    decode_head=dict(in_index=[0, 1, 2]),
    auxiliary_head=dict(in_index=1),
)
