_base_ = './msrc21_lite.py'

num_images = 583
max_iters = _base_.epochs * (num_images // _base_.batch_size)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
