"""Context modules and encoders on Clothing Co-Parsing, from ImageNet weights."""

title = 'Context modules and encoders on Clothing Co-Parsing'
config = 'encnet_lite0_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2, 3, 4]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(176, 160, num_images=583, epochs=10)

variants = [
    *__shared.context_modules('{}_lite0_clothing'),
    *__shared.other_encoders(),
]
