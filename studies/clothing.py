"""The paper's second SE loss and the original's initialisation on Clothing Co-Parsing."""

title = 'Auxiliary heads and initialisation on Clothing Co-Parsing'
config = 'encnet_r18_narrow_clothing'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1, 2]

__shared = __import__('mmseg_encnet.workbench.studies.options', fromlist=['scaled'])
# Sizes and width as in the study on MSRC-21, with about half as many iterations.
options = __shared.scaled(72, 64, num_images=583, epochs=25, workers=0)

variants = [
    dict(name='EncNet', group='auxiliary head (EncNet: FCN)'),
    dict(
        name='second SE loss',
        group='auxiliary head (EncNet: FCN)',
        options=__shared.auxiliary_heads(['AuxEncodingHead'], 64, 31),
    ),
    dict(
        name='FCN and second SE loss',
        group='auxiliary head (EncNet: FCN)',
        options=__shared.auxiliary_heads(['AuxFCNHead', 'AuxEncodingHead'], 64, 31),
    ),
    dict(
        name='PyTorch default',
        group='initial heads (EncNet: toolbox)',
        options=__shared.initialised_by('PyTorchDefault'),
    ),
]
