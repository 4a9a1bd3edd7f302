# Pretrained transformers and ConvNeXt: the learning rate decreases towards the input of the
# backbone. Rate and decay are not tuned for EncNet.
_base_ = './adamw_160k.py'

optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        _delete_=True,
        decay_rate=0.9,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        norm_decay_mult=0.0,
    ),
)
