_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(type='FCNHead', in_channels=320, in_index=3, num_convs=1, concat_input=False)
)
