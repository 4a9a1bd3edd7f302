_base_ = './encnet_r50_jpu_ade20k.py'

# The network of FastFCN's checkpoints, whose head starts with a 1x1 convolution.
model = dict(decode_head=dict(bottleneck_kernel_size=1))

# FastFCN's schedule for ADE20K.
epochs = 120
max_iters = epochs * (_base_.num_images // _base_.total_batch)
optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
