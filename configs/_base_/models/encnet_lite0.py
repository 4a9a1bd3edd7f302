_base_ = './dilated_lite0.py'

model = dict(
    decode_head=dict(
        type='EncodingHead',
        use_se_loss=True,
        add_lateral=True,
        # A 3x3 convolution fuses both stages.
        bottleneck_kernel_size=1,
        dropout_ratio=0.3,
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2),
    )
)
