"""Training on whole photographs of Clothing Co-Parsing, as the shipped network was, or on crops."""

title = 'Whole photographs or crops of Clothing Co-Parsing'
config = 'encnet_lite0_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2, 3, 4]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])
__crops = __shared.tuned_lite(num_images=583, epochs=24)
__group = 'recipe (EncNet: crops)'

variants = [
    dict(name='EncNet', group=__group, options=__crops),
    *(
        {**variant, 'group': __group, 'options': {**__crops, **variant['options']}}
        for variant in __shared.weighted_classes('{}_lite0_clothing', modules=['EncNet'])
    ),
    dict(
        name='whole photographs',
        group=__group,
        options={'model.decode_head.loss_decode.class_weight': None},
    ),
    dict(name='whole photographs, weighted classes', group=__group),
]
