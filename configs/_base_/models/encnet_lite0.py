_base_ = './dilated_lite0.py'

# The head also sees stage 2, at stride 8. A 3x3 convolution fuses the three stages, so the first
# convolution of the last one is 1x1.
model = dict(
    decode_head=dict(
        type='EncodingHead',
        in_channels=[40, 112, 320],
        in_index=[1, 2, 3],
        use_se_loss=True,
        add_lateral=True,
        bottleneck_kernel_size=1,
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2),
    )
)
