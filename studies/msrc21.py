"""Context modules and encoders on MSRC-21, from random initialisation."""

title = 'Context modules and encoders on MSRC-21'
config = 'encnet_r18_narrow_msrc21'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2]


__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['scaled'])

# An eighth of the published sizes and a quarter of the width: the study takes an evening on two
# cores, and its curves are flat at the end.
options = __shared.scaled(72, 64, num_images=318, epochs=80, workers=0)
# Networks and images of the usual size, for a machine with a GPU (--full-size).
full_size = dict(
    configs={
        f'{name}_r18_narrow_msrc21': f'{name}_r50_msrc21'
        for name in ('fcn', 'pspnet', 'deeplabv3', 'encnet')
    },
    options=__shared.scaled(320, 288, num_images=318, epochs=200, workers=8),
)


variants = [
    *__shared.context_modules('{}_r18_narrow_msrc21'),
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
    *__shared.other_encoders(),
    dict(
        name='second SE loss',
        group='auxiliary head (EncNet: FCN)',
        options=__shared.auxiliary_heads(['AuxEncodingHead'], 64, 21),
        full_size=__shared.auxiliary_heads(['AuxEncodingHead'], 1024, 21),
    ),
    dict(
        name='FCN and second SE loss',
        group='auxiliary head (EncNet: FCN)',
        options=__shared.auxiliary_heads(['AuxFCNHead', 'AuxEncodingHead'], 64, 21),
        full_size=__shared.auxiliary_heads(['AuxFCNHead', 'AuxEncodingHead'], 1024, 21),
    ),
    dict(
        name='PyTorch default',
        group='initial heads (EncNet: toolbox)',
        options=__shared.initialised_by('PyTorchDefault'),
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
