"""The benchmark of a whole network, in this process and on the CPU."""

from __future__ import annotations

import json
import warnings

import torch

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.workbench.benchmarks import model, model_report
from mmseg_encnet.workbench.memory.plan import plan_contenders

CONFIG = 'encnet_r18_narrow_msrc21'


def in_this_process(function, *args):
    return function(*args)


def test_measures_both_heads(monkeypatch):
    monkeypatch.setattr(model, 'in_fresh_process', in_this_process)
    case = model.Case(64, 96, 2, torch.get_num_threads(), steps=2, amp='bfloat16')
    results = model.run(CONFIG, case, rounds=1)
    assert json.loads(json.dumps(results)) == results
    rows = results['measurements']
    assert [(row['task'], row['contender']) for row in rows] == [
        ('training step', 'mmseg EncHead'),
        ('training step', 'EncodingHead'),
        ('training step', "EncodingHead, recompute='most'"),
        ('inference', 'mmseg EncHead'),
        ('inference', 'EncodingHead'),
    ]
    assert all(len(row['seconds']) == 2 and row['peak_bytes'] > 2**20 for row in rows)
    text = model_report.markdown(results)
    assert ', bfloat16; ' in text
    # What was not measured has no column.
    assert 'synchronisations' not in text and 'planned' not in text

    # As on a GPU.
    results['case']['amp'] = None
    results['planned'] = plan_contenders(CONFIG, 2, (64, 96))
    for row in rows:
        row['synchronisations'] = 3
    text = model_report.markdown(results)
    assert ', float32; ' in text
    assert '| planned | synchronisations |' in text
    assert text.count('MiB | 3 |') == len(rows)
    planned = results['planned']['training step']
    assert planned['EncodingHead'] < planned['mmseg EncHead']


def test_parts_keep_what_they_have_arguments_for():
    cfg = load_config('encnet_lite0_msrc21').model
    own = model.with_parts(cfg, model.CONTENDERS['EncodingHead'].changes)
    assert own['decode_head'] == cfg['decode_head'] and own['backbone'] == cfg['backbone']
    other = model.with_parts(cfg, model.CONTENDERS['mmseg EncHead'].changes)
    assert 'bottleneck_kernel_size' in cfg['decode_head']
    assert 'bottleneck_kernel_size' not in other['decode_head']
    assert other['decode_head']['channels'] == cfg['decode_head']['channels']
    assert other['backbone'] == {**cfg['backbone'], 'conv_cfg': dict(type='Conv2d')}


def test_counts_what_waits_for_the_gpu(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)

    def step():
        assert modes == ['warn']
        for _ in range(2):
            warnings.warn('called a synchronizing CUDA operation (Triggered ...)', stacklevel=1)
        warnings.warn('something else', stacklevel=1)

    assert model.synchronisations(step) == 2
    assert modes == ['warn', 'default']
