# EncNet as the paper describes it (CVPR 2018, sections 3 and 4.1): a second SE loss on stage 3
# instead of the FCN head, a sum over the codewords, features times the gate, no lateral
# connections, rotation by up to 10 degrees, 50 epochs. docs/paper_code_ours.md lists what the paper
# leaves open, which is as released here.
_base_ = './encnet_r50_pcontext.py'

model = dict(
    decode_head=dict(add_lateral=False, reduction='sum', gate='scale'),
    auxiliary_head=dict(
        _delete_=True,
        type='AuxEncodingHead',
        in_channels=1024,
        in_index=2,
        num_classes=_base_.num_classes,
        reduction='sum',
        norm_cfg=_base_.norm_cfg,
        init_cfg=dict(type='PyTorchDefault'),
        loss_se_decode=dict(type='SemanticEncodingLoss', loss_weight=0.2, skip_unlabelled=False),
    ),
)

train_pipeline = __import__('mmseg_encnet').rotated(_base_.train_pipeline, degrees=10)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

epochs = 50
max_iters = epochs * (_base_.num_images // _base_.total_batch)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
