default_scope = 'mmseg'
# Registers this package's parts in the toolbox's own tools (mim train, mim test).
custom_imports = dict(imports=['mmseg_encnet'])

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    label_check=dict(type='LabelCheckHook'),
    loss_check=dict(type='LossCheckHook'),
    checkpoint=dict(
        type='ResumableCheckpointHook',
        by_epoch=False,
        interval=2000,
        max_keep_ckpts=3,
        save_best='mIoU',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='LoadedImageVisualizationHook'),
)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
tta_model = dict(type='ContextTTAModel')
load_from = None
resume = False

# The published learning rates are for 16 images in all: 8 GPUs with 2 each here, 4 with 4 each in
# PyTorch-Encoding 0.5.0. PyTorch-Encoding also scales them with the batch size.
auto_scale_lr = dict(enable=True, base_batch_size=16)
