_base_ = [
    './_base_/models/encnet_r18.py',
    './_base_/datasets/context_scenes.py',
    './_base_/schedules/context_scenes.py',
    './_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    # With two stages the receptive field of a twin contains no cue (docs/context_scenes.md), so
    # EncNet can use the cues only through its encoding.
    backbone=dict(
        num_stages=2, stem_channels=32, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)
    ),
    decode_head=dict(
        in_channels=[32, 64],
        in_index=[0, 1],
        channels=64,
        num_codes=16,
        num_classes=_base_.num_classes,
        # Five times the published weight: the cues cover only 0.6 % of the pixels per class, and
        # in so short a training the network learns them mainly from the SE loss.
        loss_se_decode=dict(loss_weight=1.0),
    ),
    # A quarter of 32 channels is too few for 16 classes.
    auxiliary_head=dict(in_channels=32, in_index=0, channels=32, num_classes=_base_.num_classes),
    test_cfg=dict(_delete_=True, mode='whole'),
)

# The learning rate of the schedule is for this batch size.
auto_scale_lr = dict(base_batch_size=_base_.train_dataloader.batch_size)
