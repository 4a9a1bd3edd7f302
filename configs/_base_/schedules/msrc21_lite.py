_base_ = './msrc21.py'

epochs = 14
max_iters = epochs * (_base_.num_images // _base_.batch_size)

optim_wrapper = dict(optimizer=dict(lr=0.004))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
