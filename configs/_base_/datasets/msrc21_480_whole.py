# Trains on whole photographs: most are 480 pixels wide and 320 high, others are cropped to this
# size.
_base_ = './msrc21_480.py'

# Height and width.
view_size = (320, 480)

__views = __import__('mmseg_encnet').whole_views(_base_.base_size, view_size)
train_dataloader = dict(dataset=dict(pipeline=__views))
# The average of the weights is validated and saved.
custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=10)]
