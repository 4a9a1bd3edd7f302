_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(
        type='FCNHead', input_transform='resize_concat', num_convs=1, concat_input=False
    )
)
