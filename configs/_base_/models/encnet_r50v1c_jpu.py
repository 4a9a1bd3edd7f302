_base_ = './encnet_r50v1c.py'

# The network of MMSegmentation's FastFCN checkpoints with EncNet, which load with strict=True.
# Unlike FastFCN's own, it dilates the backbone, and its head starts with a 3x3 convolution.
model = dict(
    backbone=dict(strides=(1, 2, 2, 2), out_indices=(1, 2, 3)),
    neck=dict(
        type='JPU',
        in_channels=(512, 1024, 2048),
        mid_channels=512,
        dilations=(1, 2, 4, 8),
        align_corners=False,
        norm_cfg=_base_.norm_cfg,
    ),
    decode_head=dict(in_index=[0, 1, 2]),
    auxiliary_head=dict(in_index=1),
)
