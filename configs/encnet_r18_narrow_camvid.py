_base_ = './encnet_r18_camvid.py'

# A quarter of the usual width, for studies that train many networks on two CPU cores.
model = dict(
    backbone=dict(stem_channels=32, base_channels=16),
    decode_head=dict(in_channels=[32, 64, 128]),
    auxiliary_head=dict(in_channels=64),
)
