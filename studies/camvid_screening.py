"""Recipes for rare classes on CamVid, compared with one seed."""

title = 'Recipes for rare classes on CamVid'
config = 'encnet_lite0_camvid'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=367, epochs=12)
full_size = dict(options=__shared.tuned_lite(num_images=367, epochs=12, workers=4))

variants = [
    dict(name='EncNet', group='screened'),
    *__shared.screened_recipes('encnet_lite0_camvid'),
]
