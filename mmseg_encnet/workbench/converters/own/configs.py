"""The configs that come with a converted data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pprint import pformat

from mmseg_encnet.workbench.converters.own.classes import ClassEntry
from mmseg_encnet.workbench.converters.own.images import Bands
from mmseg_encnet.workbench.inspection.channel_statistics import NORMALISATION

DATASET = 'dataset.py'
# Passes over the images for the shipped starts, and bounds of the iterations for small sets.
_BATCH_SIZE = 8
_EPOCHS = dict(encnet_lite0=14, encnet_r50=80)
_FEWEST_ITERATIONS = 300
_DATASET = """\
# Written by tools/dataset_converters/own.py.
_base_ = __import__('mmseg_encnet').config_file('_base_/datasets/published')

data_root = '{{{{ fileDirname }}}}'
metainfo = {metainfo}
num_classes = {num_classes}
num_images = {num_images}

# Side to which the long side of the images is scaled, and size of the training crops, in pixels.
base_size = 416
crop_size = (384, 384)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
{pipelines}published_tta_model = dict(base_size=base_size)

__dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=metainfo,
    img_suffix={suffix!r},
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size={batch_size},
    num_workers=2,
    dataset=dict(
        **__dataset,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        **__dataset,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = {test_dataloader}
"""
_PIPELINES = """\
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
"""
_BAND_PIPELINES = """\
__loader = dict(type='LoadImageFromTIFF')
train_pipeline = [__loader, *{train_steps}]
test_pipeline = [__loader, *__recipe.test_pipeline[1:]]
tta_pipeline = [__loader, *__recipe.tta_pipeline[1:]]
published_tta_pipeline = [
    __loader,
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
"""
# OpenCV pads at most four channels; the data preprocessor pads, too.
_STEPS_WITHOUT_PAD = "[step for step in __recipe.train_pipeline[1:] if step['type'] != 'Pad']"
_TEST = """\
dict(
    num_workers=2,
    dataset=dict(
        **__dataset,
        data_prefix=dict(img_path='images/test', seg_map_path='labels/test'),
        pipeline=test_pipeline,
    ),
)"""
_TRAINING = """\
# Written by tools/dataset_converters/own.py.
_base_ = [
    __import__('mmseg_encnet').config_file('_base_/models/{model}'),
    './dataset.py',
    __import__('mmseg_encnet').config_file('_base_/schedules/sgd_poly'),
    __import__('mmseg_encnet').config_file('_base_/default_runtime'),
{normalisation}]

model = dict(
{input}    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
{test_cfg})

max_iters = {max_iters}
optim_wrapper = dict(optimizer={optimizer})
train_cfg = dict(max_iters=max_iters, val_interval={interval})
default_hooks = dict(checkpoint=dict(interval={interval}))
{start}{hooks}"""
_COLOUR_INPUT = """\
    data_preprocessor=dict(size=_base_.crop_size),
"""
_BAND_INPUT = """\
    data_preprocessor=dict(
        type='ChannelsPreProcessor',
        bgr_to_rgb=False,
        size=_base_.crop_size,
        **_base_.normalisation,
    ),
    backbone=dict(in_channels={channels}{trained}),
"""
_BAND_HOOKS = """\
# Pretrained weights are for three channels. rgb_channels are the positions of red, green and blue.
custom_hooks = [dict(type='WidenInputHook', mode='mean', rgb_channels={rgb_channels})]
"""
_LITE_START = """\
# The network that ships; its classifiers are replaced.
load_from = 'shipped://encnet_lite0_msrc21'
"""


def write_configs(
    folder: Path,
    entries: Sequence[ClassEntry],
    counts: dict[str, int],
    suffix: str,
    bands: Bands | None = None,
) -> list[str]:
    """Write the config of a data set and those of two trainings.

    Args:
        folder: The data set.
        entries: Its classes, with colours.
        counts: Number of images of each split.
        suffix: Suffix of the images.
        bands: Content of the images if they are no photographs; the configs then need
            ``normalisation.py``.

    Returns:
        Names of the configs for training.
    """
    metainfo = dict(
        classes=tuple(entry.name for entry in entries),
        palette=[list(entry.colour or ()) for entry in entries],
    )
    batch_size = min(_BATCH_SIZE, counts['train'])
    (folder / DATASET).write_text(
        _DATASET.format(
            metainfo=pformat(metainfo, width=84, compact=True, sort_dicts=False),
            num_classes=len(entries),
            num_images=counts['train'],
            suffix=suffix,
            pipelines=_PIPELINES if bands is None else _band_pipelines(bands),
            batch_size=batch_size,
            test_dataloader=_TEST if counts.get('test') else 'val_dataloader',
        ),
        encoding='utf-8',
    )
    for name, epochs in _EPOCHS.items():
        lite = name == 'encnet_lite0'
        iterations = max(epochs * counts['train'] // batch_size, _FEWEST_ITERATIONS)
        optimizer = (
            "dict(_delete_=True, type='AdamW', lr=4e-4, weight_decay=0.01)"
            if lite
            else 'dict(lr=0.01)'
        )
        (folder / f'{name}.py').write_text(
            _TRAINING.format(
                model=name,
                normalisation='' if bands is None else f"    './{NORMALISATION}',\n",
                input=_COLOUR_INPUT if bands is None else _band_input(bands, lite),
                hooks=_band_hooks(bands),
                test_cfg=''
                if lite
                else '    test_cfg=dict(crop_size=_base_.crop_size, stride=(256, 256)),\n',
                max_iters=iterations,
                interval=max(iterations // 10, 1),
                optimizer=optimizer,
                start=_LITE_START if lite else '',
            ),
            encoding='utf-8',
        )
    return [f'{name}.py' for name in _EPOCHS]


def _band_pipelines(bands: Bands) -> str:
    steps = _STEPS_WITHOUT_PAD if bands.channels > 4 else '__recipe.train_pipeline[1:]'
    return _BAND_PIPELINES.format(train_steps=steps)


def _band_input(bands: Bands, lite: bool) -> str:
    # The first convolution has to adapt.
    trained = ', frozen_stages=-1' if lite else ''
    return _BAND_INPUT.format(channels=bands.channels, trained=trained)


def _band_hooks(bands: Bands | None) -> str:
    if bands is None or bands.channels == 3:
        return ''
    return _BAND_HOOKS.format(rgb_channels=(0, 1, 2) if bands.channels > 3 else None)
