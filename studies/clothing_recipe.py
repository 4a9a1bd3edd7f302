"""Training on whole photographs of Clothing Co-Parsing, as the shipped network was, or on crops."""

_base_ = './clothing_lite.py'

title = 'Whole photographs or crops of Clothing Co-Parsing'

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['weighted_classes'])
__crops = _base_.options
__group = 'recipe (EncNet: crops)'
(__weighted,) = __shared.weighted_classes('{}_lite0_clothing', modules=['EncNet'])

# Only the variants on crops have options of the base study.
options = dict(_delete_=True)
full_size = dict(_delete_=True)

variants = [
    dict(name='EncNet', group=__group, options=__crops),
    dict(
        name='EncNet, weighted classes',
        group=__group,
        options={**__crops, **__weighted['options']},
    ),
    dict(
        name='whole photographs',
        group=__group,
        options={'model.decode_head.loss_decode.class_weight': None},
    ),
    dict(name='whole photographs, weighted classes', group=__group),
]
