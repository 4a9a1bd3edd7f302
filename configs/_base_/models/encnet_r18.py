_base_ = './encnet_r50.py'

# For small experiments: no ImageNet weights are published for this stem, so it starts from scratch.
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    decode_head=dict(in_channels=[128, 256, 512], channels=128),
    auxiliary_head=dict(in_channels=256))
