# How many of the 118,287 images have more than 1,000 labelled pixels is not published. The tools of
# this package count the converted list and set the iterations (count_images). Others, such as
# MMSegmentation's, train for the iterations of this estimate.
_base_ = './sgd_poly.py'

__schedule = __import__('mmseg_encnet').RELEASES['v0.5.0'].schedules['coco21']
epochs = __schedule.epochs
num_images = 92_516
count_images = True
max_iters = epochs * (num_images // _base_.total_batch)

optim_wrapper = dict(optimizer=dict(lr=__schedule.lr))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
