_base_ = './encnet_r50_ade20k.py'

model = dict(backbone=dict(depth=152, init_cfg=dict(checkpoint='pytorch-encoding://resnet152s')))
