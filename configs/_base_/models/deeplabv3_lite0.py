_base_ = './dilated_lite0.py'

# Atrous rates of the output-stride-16 setting.
model = dict(
    decode_head=dict(type='ASPPHead', input_transform='resize_concat', dilations=(1, 6, 12, 18))
)
