# No schedule is published. Epochs and learning rate are those for COCO with 21 classes, which has
# the same images.
_base_ = './sgd_poly.py'

epochs = 30
num_images = 118_287
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=0.004))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
