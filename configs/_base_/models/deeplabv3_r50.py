_base_ = './dilated_r50.py'

# Atrous rates of the output-stride-8 setting.
model = dict(
    decode_head=dict(type='ASPPHead', in_channels=2048, in_index=3, dilations=(1, 12, 24, 36))
)
