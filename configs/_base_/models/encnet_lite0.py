_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(
        type='EncodingHead',
        in_channels=[40, 112, 320],
        in_index=[1, 2, 3],
        use_se_loss=True,
        add_lateral=False,
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2),
    )
)
