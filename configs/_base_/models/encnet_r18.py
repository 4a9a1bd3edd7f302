_base_ = './encnet_r50.py'

# For small experiments on two CPU cores: half the usual width. No ImageNet weights are published
# for this depth, so it starts from scratch.
model = dict(
    backbone=dict(depth=18, stem_channels=64, base_channels=32, init_cfg=None),
    decode_head=dict(in_channels=[64, 128, 256], channels=128),
    auxiliary_head=dict(in_channels=128),
)
