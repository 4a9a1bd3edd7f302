_base_ = './encnet_r50_pcontext.py'

model = dict(decode_head=dict(use_se_loss=False))
