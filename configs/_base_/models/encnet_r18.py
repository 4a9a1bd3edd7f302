_base_ = './encnet_r50.py'

# Half the usual width, for small experiments on two CPU cores. No ImageNet weights are published for
# this depth, so training starts from random initialisation.
model = dict(
    backbone=dict(depth=18, stem_channels=64, base_channels=32, init_cfg=None),
    decode_head=dict(in_channels=[64, 128, 256], channels=128),
    auxiliary_head=dict(in_channels=128),
)
