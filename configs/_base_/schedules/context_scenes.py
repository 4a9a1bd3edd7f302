_base_ = './sgd_poly.py'

# Takes minutes on two cores. In so few iterations from random initialisation, AdamW with a single
# learning rate reaches a higher accuracy than the published SGD.
max_iters = 540
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.005, weight_decay=1e-4)
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=30, by_epoch=False),
    *_base_.param_scheduler,
]
