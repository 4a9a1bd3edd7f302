_base_ = './encnet_lite0.py'

model = dict(
    backbone=dict(arch=2, init_cfg=dict(checkpoint='package://efficientnet-lite2')),
    decode_head=dict(in_channels=[120, 352]),
    auxiliary_head=dict(in_channels=120),
)
