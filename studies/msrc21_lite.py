"""Context modules and encoders on MSRC-21, from ImageNet weights."""

title = 'Context modules and encoders on MSRC-21, from ImageNet weights'
config = 'encnet_lite0_msrc21'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2, 3, 4]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=318, epochs=16)
# The same with processes that load images, for a machine with a GPU (--full-size).
full_size = dict(options=__shared.tuned_lite(num_images=318, epochs=16, workers=4))

# Proportional to share ** (-1 / 3), with the share of the labelled pixels of the training images;
# the mean over these pixels is 1.
# fmt: off
__class_weight = [
    0.87, 0.65, 0.92, 1.4, 1.5, 0.88, 1.9, 0.93,
    1.6, 1.4, 1.3, 1.3, 1.5, 1.9, 1.1, 1.6,
    0.86, 1.7, 1.6, 1.5, 2.2,
]
# fmt: on

variants = [
    *__shared.context_modules('{}_lite0_msrc21'),
    *__shared.other_encoders(),
    *__shared.weighted_classes('{}_lite0_msrc21', __class_weight),
    *__shared.other_se_losses(),
]
