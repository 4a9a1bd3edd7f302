_base_ = './sgd_poly.py'

__schedule = __import__('mmseg_encnet').RELEASES['v1.2.0'].schedules['cityscapes']
epochs = __schedule.epochs
num_images = 2_975
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=__schedule.lr))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
