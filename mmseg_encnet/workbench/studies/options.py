"""Variants and options that study files share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.recipe import published_recipe

_LOSS = 'model.decode_head.loss_decode'


def scaled(
    base_size: int, crop_size: int, num_images: int, epochs: int, workers: int, batch_size: int = 8
) -> dict[str, Any]:
    """Return options that scale the published augmentation and windows to another size.

    The learning rate decays to zero with a flat tail, where training curves should be flat too.

    Args:
        base_size: Size that the augmentation starts from, in pixels.
        crop_size: Height and width of crops and windows, in pixels.
        num_images: Images of the training split.
        epochs: Passes over them.
        workers: Processes of each data loader.
        batch_size: Batch size of the config.
    """
    iterations = epochs * (num_images // batch_size)
    crop = (crop_size, crop_size)
    recipe = published_recipe(base_size=base_size, crop_size=crop)
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


def tuned_lite(num_images: int, epochs: int, workers: int = 0) -> dict[str, Any]:
    """Return options for a ``*_lite0_*`` config: a tuned backbone and the published augmentation.

    They replace what some of these configs do to train in minutes: frozen stages, whole images, the
    average of the weights, and weights of the classes. Photographs are scaled to 320 pixels, crops
    to 288, in batches of 8.

    Args:
        num_images, epochs, workers: As in :func:`scaled`.
    """
    options = scaled(320, 288, num_images, epochs, workers)
    return {
        **options,
        'model.backbone.frozen_stages': 2,
        f'{_LOSS}.class_weight': None,
        'custom_hooks': [],
        'train_dataloader.batch_size': 8,
        'train_cfg.val_interval': options['train_cfg.max_iters'] // 5,
    }


def context_modules(config: str) -> list[dict[str, Any]]:
    """Return the variants of the group "context modules", of which EncNet is the config itself.

    Args:
        config: Name of the configs with ``{}`` for that of the module.
    """
    return [
        *(
            dict(name=name, config=config.format(name.lower()), group='context modules')
            for name in ('FCN', 'PSPNet', 'DeepLabV3')
        ),
        dict(
            name='EncNet without SE loss',
            group='context modules',
            options={'model.decode_head.use_se_loss': False},
        ),
        dict(name='EncNet', group='context modules'),
    ]


def other_encoders() -> list[dict[str, Any]]:
    """Return the variants of the group "encoder"."""
    return [
        dict(
            name=encoder,
            group='encoder (EncNet: Encoding)',
            options={'model.decode_head.encoder': dict(type=encoder)},
        )
        for encoder in ('EncodingDropout', 'BagOfWords', 'VLAD', 'FisherVector', 'GlobalAverage')
    ]


def weighted_classes(
    config: str,
    weights: Sequence[float] | None = None,
    modules: Sequence[str] = ('FCN', 'EncNet'),
) -> list[dict[str, Any]]:
    """Return the variants of the group "weighted classes".

    Args:
        config: Name of the configs with ``{}`` for that of the module.
        weights: Weight of each class in the cross-entropy; if None, those of the config.
        modules: The modules to train with them.
    """
    if weights is None:
        weights = _class_weight(config.format('encnet'))
    return [
        dict(
            name=f'{name}, weighted classes',
            config=config.format(name.lower()),
            group='weighted classes (EncNet: none)',
            options={f'{_LOSS}.class_weight': list(weights)},
        )
        for name in modules
    ]


def screened_recipes(config: str) -> list[dict[str, Any]]:
    """Return the variants of the group "screened", which were compared to choose a recipe.

    Args:
        config: Name of a config whose classes have weights ``share ** (-1 / 3)``.
    """
    third = _class_weight(config)
    shares = [weight**-3 for weight in third]
    shares = [share / sum(shares) for share in shares]
    # Their mean over the pixels is 1, too.
    mean = sum(share**0.5 for share in shares)
    half = [float(f'{share**-0.5 / mean:.2g}') for share in shares]
    less_zoom = published_recipe(base_size=320, crop_size=(288, 288)).train_pipeline
    for step in less_zoom:
        if step['type'] == 'RandomResize':
            step['ratio_range'] = (0.5, 1.0)
    zoom = {'train_dataloader.dataset.pipeline': less_zoom}

    def lovasz(weights: list[float]) -> dict[str, Any]:
        return {
            _LOSS: [
                dict(type='SyncCrossEntropyLoss', class_weight=weights, loss_weight=1.0),
                dict(type='LovaszLoss', reduction='none', loss_weight=1.0),
            ]
        }

    return [
        dict(name=name, group='screened', options=options)
        for name, options in (
            ('weights', {f'{_LOSS}.class_weight': third}),
            ('weights, exponent -1/2', {f'{_LOSS}.class_weight': half}),
            (
                'weights in both heads',
                {
                    f'{_LOSS}.class_weight': third,
                    'model.auxiliary_head.loss_decode.class_weight': third,
                },
            ),
            ('weights, Lovasz loss', lovasz(third)),
            ('weights, exponent -1/2, Lovasz loss', lovasz(half)),
            ('weights, no enlarging', {f'{_LOSS}.class_weight': third, **zoom}),
            ('weights, exponent -1/2, no enlarging', {f'{_LOSS}.class_weight': half, **zoom}),
        )
    ]


def _class_weight(config: str) -> list[float]:
    return list(load_config(config).model.decode_head.loss_decode.class_weight)


def other_se_losses() -> list[dict[str, Any]]:
    """Return the variants of the group "SE loss"."""
    return [
        dict(
            name=name,
            group='SE loss (EncNet: weight 0.2)',
            options={
                f'model.decode_head.loss_se_decode.{key}': value for key, value in changes.items()
            },
        )
        for name, changes in (
            ('SE weight 1', dict(loss_weight=1.0)),
            ('asymmetric SE loss', dict(gamma=(0.0, 4.0), margin=0.05)),
        )
    ]


def auxiliary_heads(types: Sequence[str], in_channels: int, num_classes: int) -> dict[str, Any]:
    """Return options that replace the auxiliary head by heads of the given types on stage 3."""
    aligned = {'AuxFCNHead': dict(align_corners=True)}
    return {
        'model.auxiliary_head': [
            dict(
                type=kind,
                norm_cfg=dict(type='SyncBN'),
                in_channels=in_channels,
                in_index=2,
                num_classes=num_classes,
                **aligned.get(kind, {}),
            )
            for kind in types
        ]
    }


def initialised_by(init_type: str) -> dict[str, Any]:
    """Return options that initialise both heads by a registered initialisation."""
    return {
        f'model.{head}.init_cfg': dict(type=init_type) for head in ('decode_head', 'auxiliary_head')
    }
