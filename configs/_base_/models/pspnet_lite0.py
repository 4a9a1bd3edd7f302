_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(type='PSPHead', in_channels=320, in_index=3, pool_scales=(1, 2, 3, 6))
)
