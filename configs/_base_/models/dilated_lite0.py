_base_ = './dilated_r50.py'

# For a few hundred photographs and machines without a GPU. The stages down to stride 8 and the
# statistics of all batch norms keep their ImageNet values, the other stages are tuned unless a
# config freezes them. The heads see the last two stages, both at stride 16. With frozen features of
# images of 416 pixels, EncNet on these two reached 84.4 mIoU on the validation images of MSRC-21;
# on the last stage alone, with 256 channels and half the learning rate, 76.8 (one seed each).
# Images are predicted whole.
model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch=0,
        output_stride=16,
        frozen_stages=2,
        norm_eval=True,
        norm_cfg=_base_.norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint='package://efficientnet-lite0'),
    ),
    decode_head=dict(channels=192, in_channels=[112, 320], in_index=[2, 3]),
    auxiliary_head=dict(in_channels=112),
    test_cfg=dict(_delete_=True, mode='whole'),
)
