"""Context modules and encoders on MSRC-21, from random initialisation."""

title = 'Context modules and encoders on MSRC-21'
config = 'encnet_r18_narrow_msrc21'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2]


def sized(base_size, crop_size, epochs, workers):
    """Return options that scale the published augmentation and windows to another size.

    The learning rate decays to zero with a flat tail, where training curves should be flat too.
    """
    iterations = epochs * (318 // 8)
    crop = (crop_size, crop_size)
    recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop)
    loaders = {
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val', 'test')
        for key, value in dict(num_workers=workers, persistent_workers=workers > 0).items()
    }
    return {
        'model.data_preprocessor.size': crop,
        'model.test_cfg.crop_size': crop,
        'model.test_cfg.stride': (crop_size * 2 // 3, crop_size * 2 // 3),
        'train_dataloader.dataset.pipeline': recipe.train_pipeline,
        'val_dataloader.dataset.pipeline': recipe.test_pipeline,
        'test_dataloader.dataset.pipeline': recipe.test_pipeline,
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': iterations // 10,
        'param_scheduler': [
            dict(type='CosineAnnealingLR', T_max=iterations, eta_min=0.0, by_epoch=False)
        ],
        **loaders,
    }


# An eighth of the published sizes and a quarter of the width: the study takes an evening on two
# cores, and its curves are flat at the end.
options = sized(72, 64, 80, workers=0)
# Networks and images of the usual size, for a machine with a GPU (--full-size).
full_size = dict(
    configs={
        f'{name}_r18_narrow_msrc21': f'{name}_r50_msrc21'
        for name in ('fcn', 'pspnet', 'deeplabv3', 'encnet')
    },
    options=sized(320, 288, 200, workers=8),
)


def auxiliary_heads(*types):
    """Return options that replace the auxiliary head by heads of the given types on stage 3."""

    def heads(in_channels):
        shared = dict(in_channels=in_channels, in_index=2, num_classes=21)
        aligned = {'AuxFCNHead': dict(align_corners=True)}
        return [
            dict(type=kind, norm_cfg=dict(type='SyncBN'), **shared, **aligned.get(kind, {}))
            for kind in types
        ]

    return dict(
        options={'model.auxiliary_head': heads(64)},
        full_size={'model.auxiliary_head': heads(1024)},
    )


variants = [
    *(
        dict(name=name, config=f'{name.lower()}_r18_narrow_msrc21', group='context modules')
        for name in ('FCN', 'PSPNet', 'DeepLabV3')
    ),
    dict(
        name='EncNet without SE loss',
        group='context modules',
        options={'model.decode_head.use_se_loss': False},
    ),
    dict(name='EncNet', group='context modules'),
    *(
        dict(
            name=f'{number} codewords',
            group='codewords (EncNet: 32)',
            options={'model.decode_head.num_codes': number},
        )
        for number in (8, 16, 64)
    ),
    # Weight 0 is "EncNet without SE loss".
    *(
        dict(
            name=f'SE weight {weight}',
            group='SE loss weight (EncNet: 0.2)',
            options={'model.decode_head.loss_se_decode.loss_weight': weight},
        )
        for weight in (0.05, 0.8)
    ),
    *(
        dict(
            name=encoder,
            group='encoder (EncNet: Encoding)',
            options={'model.decode_head.encoder': dict(type=encoder)},
        )
        for encoder in ('EncodingDropout', 'BagOfWords', 'VLAD', 'FisherVector', 'GlobalAverage')
    ),
    dict(
        name='second SE loss',
        group='auxiliary head (EncNet: FCN)',
        **auxiliary_heads('AuxEncodingHead'),
    ),
    dict(
        name='FCN and second SE loss',
        group='auxiliary head (EncNet: FCN)',
        **auxiliary_heads('AuxFCNHead', 'AuxEncodingHead'),
    ),
    dict(
        name='PyTorch default',
        group='initial heads (EncNet: toolbox)',
        options={
            f'model.{head}.init_cfg': dict(type='PyTorchDefault')
            for head in ('decode_head', 'auxiliary_head')
        },
    ),
    dict(
        name='smoothing factors / C',
        group='initial dictionary (EncNet: random)',
        options={'model.decode_head.encoder': dict(scaled_smoothing=True)},
    ),
    dict(
        name='codebook from k-means',
        group='initial dictionary (EncNet: random)',
        options={'custom_hooks': [dict(type='CodebookInitHook')]},
    ),
]
