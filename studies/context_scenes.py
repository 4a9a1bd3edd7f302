"""Twin classes: wider receptive fields against an encoding of the scene."""

title = 'Twin-pixel accuracy against the receptive field'
config = 'encnet_r18_context-scenes'
metric = 'twinAcc'
baseline = 'EncNet, dilation 1'
against = 'receptive_field'
seeds = [0, 1, 2]

options = {
    f'{split}_dataloader.{key}': value
    for split in ('train', 'val', 'test')
    for key, value in dict(num_workers=0, persistent_workers=False).items()
}
options['train_cfg.val_interval'] = 108

# Dilation of the last stage widens the receptive field at equal parameters and FLOPs.
variants = [
    dict(
        name=f'{name}, dilation {dilation}',
        group=name,
        config=config,
        options={'model.backbone.dilations': (1, dilation)},
    )
    for name, config in (('FCN', 'fcn_r18_context-scenes'), ('EncNet', config))
    for dilation in (1, 2, 4, 8)
]
