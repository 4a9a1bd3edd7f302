"""Context modules and encoders on Clothing Co-Parsing, from ImageNet weights."""

title = 'Context modules and encoders on Clothing Co-Parsing, from ImageNet weights'
config = 'encnet_lite0_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2, 3, 4]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=583, epochs=24)
# The same with processes that load images, for a machine with a GPU (--full-size).
full_size = dict(options=__shared.tuned_lite(num_images=583, epochs=24, workers=4))

variants = [
    *__shared.context_modules('{}_lite0_clothing'),
    *__shared.other_encoders(),
    *__shared.weighted_classes('{}_lite0_clothing'),
    *__shared.other_se_losses(),
]
