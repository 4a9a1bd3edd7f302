"""Training from the weights of a network for other classes."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.registry import DATASETS, MODELS
from tiny_setup import MSRC21
from toolbox_state import clear_toolbox_state
from torch import nn

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.processes import run_training


def build(options: dict) -> nn.Module:
    init_default_scope('mmseg')
    return MODELS.build(load_config(str(MSRC21), options).model)


def test_classifiers_of_another_number_of_classes_are_left_out(tiny_options, tmp_path):
    path = tmp_path / 'weights.pth'
    # The second SE branch, too.
    options = {
        **tiny_options,
        'model.auxiliary_head': [
            dict(type='AuxFCNHead', in_channels=32, in_index=2, num_classes=21),
            dict(type='AuxEncodingHead', in_channels=32, in_index=2, num_classes=21, num_codes=4),
        ],
        # The weights stay.
        'optim_wrapper.optimizer.lr': 0.0,
    }
    options.pop('model.auxiliary_head.in_channels')
    heads = [dict(head, num_classes=7) for head in options['model.auxiliary_head']]
    source = build({**options, 'model.decode_head.num_classes': 7, 'model.auxiliary_head': heads})
    torch.save(dict(state_dict=source.state_dict()), path)
    cfg = load_config(str(MSRC21), {**options, 'load_from': str(path)}, str(tmp_path / 'work'))
    run_training(cfg)
    result = CheckpointLoader.load_checkpoint(str(tmp_path / 'work/iter_2.pth'))['state_dict']
    changed = [
        key
        for key, value in source.named_parameters()
        if value.shape != result[key].shape or not torch.equal(value, result[key])
    ]
    classifiers = [
        'decode_head.conv_seg',
        'decode_head.se_layer',
        'auxiliary_head.0.conv_seg',
        'auxiliary_head.1.se_layer',
    ]
    expected = [f'{name}.{part}' for name in classifiers for part in ('weight', 'bias')]
    assert sorted(changed) == sorted(expected)
    log = ' '.join(next((tmp_path / 'work').glob('*/*.log')).read_text().split())
    line = log.partition('is for another number of classes: all weights are kept except ')[2]
    listed = line.partition(', which keep their initialisation')[0].split(', ')
    assert sorted(listed) == sorted(expected)
    assert 'do not match exactly' not in log

    clear_toolbox_state()
    cfg = load_config(
        str(MSRC21),
        {**options, 'load_from': str(path), 'load_from_strict': True},
        str(tmp_path / 'strict'),
    )
    with pytest.raises(UserError, match='is for 7 classes, but the model of the config has 21'):
        run_training(cfg)


def test_strict_initial_weights_are_complete(tiny_options, tmp_path):
    weights = build(tiny_options).state_dict()
    kept = {key: value for key, value in weights.items() if key.startswith('backbone.')}
    path = tmp_path / 'weights.pth'
    torch.save(kept, path)
    options = {**tiny_options, 'load_from': str(path)}
    run_training(load_config(str(MSRC21), options, str(tmp_path / 'work')))
    clear_toolbox_state()
    options['load_from_strict'] = True
    with pytest.raises(UserError, match=r'weights\.pth lacks \d+ of the model'):
        run_training(load_config(str(MSRC21), options, str(tmp_path / 'strict')))


def test_other_class_names_are_named(tiny_options, tmp_path):
    init_default_scope('mmseg')
    names = list(DATASETS.get('MSRC21Dataset').METAINFO['classes'])
    names[3:5] = names[4], names[3]
    path = tmp_path / 'weights.pth'
    weights = build(tiny_options).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=names))), path)
    cfg = load_config(str(MSRC21), {**tiny_options, 'load_from': str(path)}, str(tmp_path / 'work'))
    run_training(cfg)
    log = ' '.join(next((tmp_path / 'work').glob('*/*.log')).read_text().split())
    expected = f'(class 3 is {names[3]!r}, in the data {names[4]!r}): its classifiers are kept'
    assert expected in log
