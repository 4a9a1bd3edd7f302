# Shared by EncNet and the networks that it is compared with; only the decode head differs.
norm_cfg = dict(type='SyncBN')
model = dict(
    type='ContextEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(480, 480),
    ),
    backbone=dict(
        type='ResNetV1s',
        depth=50,
        norm_cfg=norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint='pytorch-encoding://resnet50s'),
    ),
    decode_head=dict(
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=True,
        # The mean over the labelled pixels of all processes. PyTorch-Encoding averages over those
        # of each GPU, then over the GPUs, as average='process' does. The toolbox's default averages
        # over all pixels of each process, including ignored ones.
        loss_decode=dict(type='SyncCrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='AuxFCNHead',
        in_channels=1024,
        in_index=2,
        norm_cfg=norm_cfg,
        align_corners=True,
        loss_decode=dict(type='SyncCrossEntropyLoss', loss_weight=0.2),
    ),
    train_cfg=dict(),
    # Windows of the size of the training crop, with a stride of two thirds, as published.
    test_cfg=dict(mode='slide', crop_size=(480, 480), stride=(320, 320)),
)
