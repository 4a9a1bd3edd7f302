# About 92,500 of the 118,287 images have more than 1,000 labelled pixels.
_base_ = './sgd_poly.py'

epochs = 30
num_images = 92_516
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=0.004))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
