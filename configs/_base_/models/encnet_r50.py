_base_ = './dilated_r50.py'

model = dict(
    decode_head=dict(
        type='EncodingHead',
        in_channels=[512, 1024, 2048],
        in_index=[1, 2, 3],
        use_se_loss=True,
        add_lateral=False,
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2),
    )
)
