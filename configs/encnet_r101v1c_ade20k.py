_base_ = './encnet_r50v1c_ade20k.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://resnet101_v1c')))
