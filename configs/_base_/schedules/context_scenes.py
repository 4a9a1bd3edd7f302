_base_ = './sgd_poly.py'

max_iters = 330

# For 16 images; halved for this set's batches of 8 (auto_scale_lr).
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
