# As many epochs as published for Pascal Context.
_base_ = './adamw_layer_decay_160k.py'

epochs = __import__('mmseg_encnet').RELEASES['v0.5.0'].schedules['pcontext'].epochs
num_images = 4_998
total_batch = 16
max_iters = epochs * (num_images // total_batch)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
