auto_scale_lr = dict(base_batch_size=4, enable=True)
crop_size = (
    128,
    256,
)
custom_imports = dict(
    imports=[
        'mmseg_encnet',
    ]
)
dataset_type = 'ContextScenesDataset'
default_hooks = dict(
    checkpoint=dict(
        by_epoch=True, interval=1, max_keep_ckpts=1, save_best=None, type='ResumableCheckpointHook'
    ),
    label_check=dict(type='LabelCheckHook'),
    logger=dict(interval=1, log_metric_by_epoch=False, type='LoggerHook'),
    loss_check=dict(type='LossCheckHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='LoadedImageVisualizationHook'),
)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
launcher = 'pytorch'
load_from = None
log_level = 'WARNING'
log_processor = dict(by_epoch=False)
max_iters = 540
model = dict(
    auxiliary_head=dict(
        align_corners=True,
        channels=2,
        in_channels=2,
        in_index=0,
        loss_decode=dict(loss_weight=0.2, type='SyncCrossEntropyLoss'),
        norm_cfg=dict(type='SyncBN'),
        num_classes=16,
        type='AuxFCNHead',
    ),
    backbone=dict(
        base_channels=2,
        depth=18,
        dilations=(
            1,
            1,
        ),
        init_cfg=None,
        norm_cfg=dict(type='SyncBN'),
        num_stages=2,
        out_indices=(
            0,
            1,
        ),
        stem_channels=4,
        strides=(
            1,
            2,
        ),
        type='ResNetV1s',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            128,
            256,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor',
    ),
    decode_head=dict(
        add_lateral=False,
        align_corners=True,
        channels=4,
        dropout_ratio=0.1,
        in_channels=[
            2,
            4,
        ],
        in_index=[
            0,
            1,
        ],
        loss_decode=dict(loss_weight=1.0, type='SyncCrossEntropyLoss'),
        loss_se_decode=dict(loss_weight=1.0, type='SemanticEncodingLoss'),
        norm_cfg=dict(type='SyncBN'),
        num_classes=16,
        num_codes=2,
        type='EncodingHead',
        use_se_loss=True,
    ),
    test_cfg=dict(mode='whole'),
    train_cfg=dict(),
    type='ContextEncoderDecoder',
)
norm_cfg = dict(type='SyncBN')
num_classes = 16
optim_wrapper = dict(
    optimizer=dict(lr=0.01, momentum=0.9, type='SGD', weight_decay=0.0001), type='OptimWrapper'
)
param_scheduler = [
    dict(begin=0, by_epoch=False, end=2, start_factor=0.1, type='LinearLR'),
    dict(by_epoch=False, eta_min=0.0, power=0.9, type='PolyLR'),
]
randomness = dict(seed=3)
resume = False
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=2,
    dataset=dict(
        num_scenes=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                keep_ratio=True,
                scale=(
                    256,
                    128,
                ),
                type='Resize',
            ),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        split='val',
        test_mode=True,
        type='ContextScenesDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = [
    dict(
        iou_metrics=[
            'mIoU',
        ],
        type='IoUMetric',
    ),
    dict(type='TwinPixelAccuracy'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        keep_ratio=True,
        scale=(
            256,
            128,
        ),
        type='Resize',
    ),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
total_batch = 16
train_cfg = dict(max_epochs=2, type='EpochBasedTrainLoop')
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        num_scenes=8,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(prob=0.5, type='RandomFlip'),
            dict(type='PackSegInputs'),
        ],
        split='train',
        type='ContextScenesDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(prob=0.5, type='RandomFlip'),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='ContextTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        transforms=[
            [
                dict(
                    keep_ratio=True,
                    scale=(
                        256,
                        128,
                    ),
                    type='Resize',
                ),
            ],
            [
                dict(direction='horizontal', prob=0.0, type='RandomFlip'),
                dict(direction='horizontal', prob=1.0, type='RandomFlip'),
            ],
            [
                dict(type='LoadAnnotations'),
            ],
            [
                dict(type='PackSegInputs'),
            ],
        ],
        type='TestTimeAug',
    ),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=2,
    dataset=dict(
        num_scenes=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                keep_ratio=True,
                scale=(
                    256,
                    128,
                ),
                type='Resize',
            ),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        split='val',
        test_mode=True,
        type='ContextScenesDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = [
    dict(
        iou_metrics=[
            'mIoU',
        ],
        type='IoUMetric',
    ),
    dict(type='TwinPixelAccuracy'),
]
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
work_dir = 'by_epoch_in_two_processes'
