_base_ = './msrc21_lite.py'

epochs = 26
num_images = 367
max_iters = epochs * (num_images // _base_.batch_size)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
