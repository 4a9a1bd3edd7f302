_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(type='PSPHead', input_transform='resize_concat', pool_scales=(1, 2, 3, 6))
)
