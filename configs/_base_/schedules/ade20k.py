_base_ = './sgd_poly.py'

__schedule = __import__('mmseg_encnet').RELEASES['v0.5.0'].schedules['ade20k']
epochs = __schedule.epochs
num_images = 20_210
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=__schedule.lr))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
