_base_ = './encnet_dinov3-s.py'

model = dict(
    backbone=dict(
        config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12),
        init_cfg=dict(checkpoint='huggingface://facebook/dinov3-vitb16-pretrain-lvd1689m'),
    ),
    decode_head=dict(in_channels=[768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
