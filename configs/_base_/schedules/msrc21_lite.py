_base_ = './msrc21.py'

epochs = 8
max_iters = epochs * (_base_.num_images // _base_.batch_size)

# auto_scale_lr halves the rates for a batch of 8.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=4e-4, weight_decay=0.1),
    # A twentieth of the learning rate of the heads.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5))),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
