_base_ = './sgd_poly.py'

epochs = 40
num_images = 318
batch_size = 8
max_iters = epochs * (num_images // batch_size)

# For a batch of 16; auto_scale_lr halves it for the batch size of 8 used here.
optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
