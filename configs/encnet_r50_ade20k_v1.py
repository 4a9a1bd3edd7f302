_base_ = './encnet_r50_ade20k.py'

# The recipe of PyTorch-Encoding 1.2.0 (RELEASES in mmseg_encnet/configuration/recipe.py).
__package = __import__('mmseg_encnet')
train_pipeline = __package.published_recipe(
    base_size=_base_.base_size, crop_size=_base_.crop_size, release='v1.2.0'
).train_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(decode_head=dict(channel_dropout=False), auxiliary_head=dict(channel_dropout=False))

__schedule = __package.RELEASES['v1.2.0'].schedules['ade20k']
epochs = __schedule.epochs
max_iters = epochs * (_base_.num_images // _base_.total_batch)
optim_wrapper = dict(optimizer=dict(lr=__schedule.lr))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
