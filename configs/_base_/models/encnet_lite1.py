_base_ = './encnet_lite0.py'

# Deeper than encnet_lite0.py, with the same channels.
model = dict(backbone=dict(arch=1, init_cfg=dict(checkpoint='package://efficientnet-lite1')))
