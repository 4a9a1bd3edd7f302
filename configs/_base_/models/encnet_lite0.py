_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(
        type='EncodingHead',
        use_se_loss=True,
        add_lateral=True,
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2),
    )
)
