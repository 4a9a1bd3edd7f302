_base_ = './sgd_poly.py'

epochs = 80
num_images = 10_582
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=0.001))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
