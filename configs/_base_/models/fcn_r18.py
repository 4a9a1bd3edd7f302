_base_ = './fcn_r50.py'

# The same backbone, auxiliary head and head width as encnet_r18.py.
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256))
