_base_ = './mmseg_160k.py'

train_cfg = dict(max_iters=80_000, val_interval=8_000)
