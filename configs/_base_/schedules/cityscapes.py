_base_ = './sgd_poly.py'

epochs = 240
num_images = 2_975
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=0.004))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
