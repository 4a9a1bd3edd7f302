_base_ = './deeplabv3_r50_msrc21.py'

# Backbone, auxiliary head and head width are those of encnet_r18_msrc21.py.
model = dict(
    backbone=dict(depth=18, stem_channels=64, base_channels=32, init_cfg=None),
    decode_head=dict(in_channels=256, channels=128),
    auxiliary_head=dict(in_channels=128),
)
