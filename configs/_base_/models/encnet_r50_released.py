_base_ = './encnet_r50.py'

# As released by PyTorch-Encoding: the heads keep PyTorch's default initialisation, and the SE loss
# counts images without labelled pixels as images without any class.
model = dict(
    decode_head=dict(
        init_cfg=dict(type='PyTorchDefault'), loss_se_decode=dict(skip_unlabelled=False)
    ),
    auxiliary_head=dict(init_cfg=dict(type='PyTorchDefault')),
)
