"""The variants of ``clothing_lite`` with 24 instead of 12 epochs."""

_base_ = './clothing_lite.py'

title = 'Context modules and encoders on Clothing Co-Parsing, 24 epochs'

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['tuned_lite'])

options = __shared.tuned_lite(num_images=583, epochs=24)
full_size = dict(options=__shared.tuned_lite(num_images=583, epochs=24, workers=4))
