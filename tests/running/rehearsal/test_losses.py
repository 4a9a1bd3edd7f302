"""The table of losses and pixel samplers in the documentation, and the messages of the others."""

from __future__ import annotations

import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from tiny_setup import ROOT
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.rehearsal.losses import check_losses

PAGE = ROOT / 'docs' / 'howto' / 'losses.md'
CLASSES = 4
LOSSES = {
    'SyncCrossEntropyLoss': {},
    'SyncCrossEntropyLoss, use_sigmoid=True': dict(use_sigmoid=True),
    'CrossEntropyLoss': {},
    'CrossEntropyLoss, avg_non_ignore=True': dict(avg_non_ignore=True),
    'CrossEntropyLoss, use_sigmoid=True': dict(use_sigmoid=True),
    'DiceLoss': {},
    'FocalLoss': {},
    'HuasdorffDisstanceLoss': {},
    "LovaszLoss, reduction='none'": dict(reduction='none'),
    'TverskyLoss': {},
    'BoundaryLoss': {},
    'OhemCrossEntropy': {},
    'SiLogLoss': {},
}
COLUMNS = {
    'alone': {},
    'class_weight': dict(weighted=True),
    'OHEMPixelSampler': dict(sampler=dict(type='OHEMPixelSampler', min_kept=3)),
    'OHEMPixelSampler, thresh=0.7': dict(
        sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=3)
    ),
    'BoundaryPixelSampler': dict(sampler=dict(type='BoundaryPixelSampler')),
    'one score': dict(num_classes=2, out_channels=1),
}


class Segmentor(nn.Module):
    """The part of a segmentor that the check reads."""

    def __init__(self, loss_decode, num_classes: int = CLASSES, **options) -> None:
        super().__init__()
        init_default_scope('mmseg')
        self.decode_head = MODELS.build(
            dict(
                type='EncodingHead',
                in_channels=[8],
                in_index=[0],
                channels=8,
                num_codes=2,
                num_classes=num_classes,
                loss_decode=loss_decode,
                **options,
            )
        )


def works(loss: str, weighted: bool = False, **options) -> bool:
    cfg = dict(type=loss.partition(',')[0], **LOSSES[loss])
    if weighted:
        cfg['class_weight'] = [1.0, 2.0, 0.5, 1.0]
    try:
        model = Segmentor(cfg, **options)
    except TypeError as error:
        assert 'class_weight' in str(error)
        return False
    try:
        check_losses(model)
    except UserError as error:
        assert 'model.decode_head.' in str(error) and str(error).endswith('.')
        return False
    return True


def test_the_page_lists_what_works():
    lines = [
        '| Loss | ' + ' | '.join(f'`{column}`' for column in COLUMNS) + ' |',
        '|---' * (len(COLUMNS) + 1) + '|',
    ]
    for loss in LOSSES:
        cells = ['yes' if works(loss, **options) else 'refused' for options in COLUMNS.values()]
        lines.append(f'| `{loss}` | ' + ' | '.join(cells) + ' |')
    assert '\n'.join(lines) in PAGE.read_text(), '\n'.join(lines)


WEIGHT = 'model.decode_head.loss_decode.class_weight'
REFUSED = {
    'too few weights': (
        dict(class_weight=[1.0, 2.0]),
        f'got 2 class weights in {WEIGHT}, expected 4, one for each output channel of the head; '
        'correct class_weight.',
    ),
    'too many weights, sigmoid': (
        dict(class_weight=[1.0] * 5, use_sigmoid=True),
        f'got 5 class weights in {WEIGHT}, expected 4',
    ),
    'negative weight': (
        dict(class_weight=[1.0, -1.0, 1.0, 1.0]),
        f'{WEIGHT} must hold non-negative numbers, not all of them zero, got [1.0, -1.0, 1.0, 1.0]',
    ),
    'not finite': (dict(class_weight=[1.0, float('nan'), 1.0, 1.0]), 'must hold non-negative'),
    'zeros': (dict(class_weight=[0.0] * 4), 'not all of them zero'),
    'words': (dict(class_weight=['a'] * 4), 'must hold non-negative numbers'),
    'the second of two losses': (
        [dict(type='DiceLoss'), dict(type='SyncCrossEntropyLoss', class_weight=[1.0])],
        'got 1 class weights',
    ),
    'loss without a value': (
        dict(type='CrossEntropyLoss', reduction='none'),
        'CrossEntropyLoss of model.decode_head.loss_decode cannot be computed for 4 output '
        'channel(s) (ValueError: got a loss of shape (2, 7, 5), expected a single value)',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_options_that_cannot_work_are_refused(name):
    options, words = REFUSED[name]
    if isinstance(options, dict):
        options = dict(dict(type='SyncCrossEntropyLoss'), **options)
    with pytest.raises(UserError) as refused:
        check_losses(Segmentor(options))
    assert words in str(refused.value)


def test_losses_of_the_se_branch():
    plain = dict(type='SyncCrossEntropyLoss')
    check_losses(Segmentor(plain, loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)))
    with pytest.raises(UserError, match=r'DiceLoss of model\.decode_head\.loss_se_decode cannot'):
        check_losses(Segmentor(plain, loss_se_decode=dict(type='DiceLoss')))
    for loss in (dict(type='CrossEntropyLoss'), dict(type='SyncCrossEntropyLoss')):
        with pytest.raises(UserError, match='SemanticEncodingLoss'):
            check_losses(Segmentor(plain, loss_se_decode=loss))
    with pytest.raises(UserError, match='lets the classes compete, but an image can contain'):
        check_losses(Segmentor(plain, loss_se_decode=dict(type='CrossEntropyLoss')))
