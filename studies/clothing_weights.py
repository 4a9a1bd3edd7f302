"""Weights for rare classes on Clothing Co-Parsing, with seeds that did not serve to find them."""

_base_ = './clothing_lite_12.py'

title = 'Weights for rare classes on Clothing Co-Parsing: other seeds'
seeds = [5, 6, 7, 8, 9]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

variants = [
    dict(name='EncNet', group='weighted classes (EncNet: none)'),
    *__shared.weighted_classes('{}_lite0_clothing', modules=['EncNet']),
]
