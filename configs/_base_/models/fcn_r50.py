_base_ = './dilated_r50.py'

model = dict(
    decode_head=dict(type='FCNHead', in_channels=2048, in_index=3, num_convs=1, concat_input=False)
)
