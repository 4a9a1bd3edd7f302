"""Recipes for rare classes on Clothing Co-Parsing, compared with one seed."""

_base_ = './clothing_lite_12.py'

title = 'Recipes for rare classes on Clothing Co-Parsing'
seeds = [0]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

variants = [
    dict(name='EncNet', group='screened'),
    *__shared.screened_recipes('encnet_lite0_clothing'),
]
