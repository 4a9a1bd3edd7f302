_base_ = './encnet_r50.py'

# A plain vision transformer: all depths have the stride of the patches, 14 pixels, and a third of
# the layers lies between one and the next. The cells of a patch grid have no corners to align.
model = dict(
    backbone=dict(
        _delete_=True,
        type='HFBackbone',
        config=dict(model_type='dinov2', hidden_size=384, num_attention_heads=6, image_size=518),
        out_indices=(4, 8, 12),
        init_cfg=dict(type='Pretrained', checkpoint='huggingface://facebook/dinov2-small'),
    ),
    decode_head=dict(
        in_channels=[384, 384, 384], in_index=[0, 1, 2], add_lateral=True, align_corners=False
    ),
    auxiliary_head=dict(in_channels=384, in_index=1, align_corners=False),
    test_cfg=dict(_delete_=True, mode='whole'),
)
