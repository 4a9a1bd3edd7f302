"""Context modules and encoders on Clothing Co-Parsing, from ImageNet weights."""

title = 'Context modules and encoders on Clothing Co-Parsing, from ImageNet weights'
config = 'encnet_lite0_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2, 3, 4]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=583, epochs=12)
# The same with processes that load images, for a machine with a GPU (--full-size).
full_size = dict(options=__shared.tuned_lite(num_images=583, epochs=12, workers=4))

# Proportional to share ** (-1 / 3), with the share of the labelled pixels of the training images;
# the mean over these pixels is 1.
# fmt: off
__class_weight = [
    0.59, 1.8, 2.3, 2.7, 2.6, 1.8, 6.4, 1.9,
    3.6, 1.9, 5.7, 2.6, 6.0, 2.9, 2.6, 2.5,
    3.1, 5.7, 3.6, 3.0, 4.0, 2.9, 12.0, 4.1,
    3.1, 6.0, 9.8, 5.0, 4.0, 5.8, 4.2,
]
# fmt: on

variants = [
    *__shared.context_modules('{}_lite0_clothing'),
    *__shared.other_encoders(),
    *__shared.weighted_classes('{}_lite0_clothing', __class_weight),
    *__shared.other_se_losses(),
]
