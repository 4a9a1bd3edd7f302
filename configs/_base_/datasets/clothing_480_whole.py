# Trains on whole photographs: most are 320 pixels wide and 480 high, others are cropped to this
# size. Few views of each, so that FeatureCacheHook computes their features only once.
_base_ = './clothing_480.py'

# Height and width.
view_size = (480, 320)

# Proportional to share ** (-1 / 3), with the share of the labelled pixels of the training images;
# the mean over these pixels is 1. Most garments are in fewer than a tenth of the photographs.
# fmt: off
class_weight = [
    0.59, 1.8, 2.3, 2.7, 2.6, 1.8, 6.4, 1.9,
    3.6, 1.9, 5.7, 2.6, 6.0, 2.9, 2.6, 2.5,
    3.1, 5.7, 3.6, 3.0, 4.0, 2.9, 12.0, 4.1,
    3.1, 6.0, 9.8, 5.0, 4.0, 5.8, 4.2,
]
# fmt: on

__views = __import__('mmseg_encnet').repeated_whole_views(_base_.base_size, view_size)
train_dataloader = dict(dataset=dict(pipeline=__views))
# The backbone must be frozen. The average of the weights is validated and saved.
custom_hooks = [
    dict(type='FeatureCacheHook'),
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=10),
]
