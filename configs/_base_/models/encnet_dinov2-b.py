_base_ = './encnet_dinov2-s.py'

model = dict(
    backbone=dict(
        config=dict(hidden_size=768, num_attention_heads=12),
        init_cfg=dict(checkpoint='huggingface://facebook/dinov2-base'),
    ),
    decode_head=dict(in_channels=[768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
