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

variants = [
    *__shared.context_modules('{}_lite0_msrc21'),
    *__shared.other_encoders(),
]
