"""The variants of ``clothing_lite`` with 48 instead of 24 epochs."""

_base_ = './clothing_lite.py'

title = 'Context modules and encoders on Clothing Co-Parsing, 48 epochs'
seeds = [0, 1]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=583, epochs=48)
full_size = dict(options=__shared.tuned_lite(num_images=583, epochs=48, workers=4))
