_base_ = './encnet_r50.py'

# Half the usual width, for small experiments on two CPU cores. Training starts from random
# initialisation, because no ImageNet weights are published for this depth.
model = dict(
    backbone=dict(depth=18, stem_channels=64, base_channels=32, init_cfg=None),
    decode_head=dict(in_channels=[64, 128, 256], channels=128),
    auxiliary_head=dict(in_channels=128),
)
