# Trains on whole photographs: most are 480 pixels wide and 320 high, others are cropped to this
# size. Few views of each, so that FeatureCacheHook computes their features only once.
_base_ = './msrc21_480.py'

# Height and width; Pad takes width and height.
view_size = (320, 480)

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(
                type='RepeatedViews',
                num_views=4,
                transforms=[
                    dict(type='Resize', scale=(_base_.base_size,) * 2, keep_ratio=True),
                    dict(type='Pad', size=view_size[::-1], pad_val=dict(img=0, seg=255)),
                    dict(type='RandomCrop', crop_size=view_size),
                    dict(type='RandomFlip', prob=0.5),
                ],
            ),
            dict(type='PackSegInputs'),
        ]
    )
)
# The backbone must be frozen. The average of the weights is validated and saved.
custom_hooks = [
    dict(type='FeatureCacheHook'),
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=10),
]
