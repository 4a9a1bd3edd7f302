_base_ = './encnet_r50_pcontext.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='pytorch-encoding://resnet101s')))
