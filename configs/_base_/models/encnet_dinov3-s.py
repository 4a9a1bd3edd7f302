_base_ = './encnet_dinov2-s.py'

# Patches of 16 pixels. The weights require that you accept their licence on the hub.
model = dict(
    backbone=dict(
        config=dict(
            _delete_=True,
            model_type='dinov3_vit',
            hidden_size=384,
            intermediate_size=1536,
            num_attention_heads=6,
            num_register_tokens=4,
        ),
        init_cfg=dict(checkpoint='huggingface://facebook/dinov3-vits16-pretrain-lvd1689m'),
    ),
)
