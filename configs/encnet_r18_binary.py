_base_ = [
    './_base_/models/encnet_r18.py',
    './_base_/datasets/binary.py',
    './_base_/schedules/sgd_poly.py',
    './_base_/default_runtime.py',
]

# For a batch of 16; auto_scale_lr halves it for the batch size of 8 used here.
optim_wrapper = dict(optimizer=dict(lr=0.01))
max_iters = 4000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)

# One score per pixel, that of label 1: its probability is the sigmoid of the score.
model = dict(
    decode_head=dict(
        num_classes=_base_.num_classes,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(use_sigmoid=True),
    ),
    auxiliary_head=dict(
        num_classes=_base_.num_classes,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(use_sigmoid=True),
    ),
)
