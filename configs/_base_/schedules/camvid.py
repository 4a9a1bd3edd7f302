_base_ = './sgd_poly.py'

epochs = 20
num_images = 367
batch_size = 4
max_iters = epochs * (num_images // batch_size)

# For a batch of 16; auto_scale_lr divides it by 4 for the batch size of 4 used here.
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
