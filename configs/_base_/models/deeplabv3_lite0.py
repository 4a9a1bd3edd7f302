_base_ = './dilated_lite0.py'

# Atrous rates of the output-stride-16 setting.
model = dict(
    decode_head=dict(type='ASPPHead', in_channels=320, in_index=3, dilations=(1, 6, 12, 18))
)
