"""Weights for rare classes on Clothing Co-Parsing, with seeds that did not serve to find them."""

title = 'Weights for rare classes on Clothing Co-Parsing: other seeds'
config = 'encnet_lite0_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [5, 6, 7, 8, 9]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=583, epochs=12)
full_size = dict(options=__shared.tuned_lite(num_images=583, epochs=12, workers=4))

variants = [
    dict(name='EncNet', group='weighted classes (EncNet: none)'),
    *__shared.weighted_classes('{}_lite0_clothing', modules=['EncNet']),
]
