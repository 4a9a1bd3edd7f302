"""The inference benchmark, in this process."""

from __future__ import annotations

import json

import torch
from test_benchmark_model import in_this_process

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.benchmarks import inference, inference_report

CONFIG = 'encnet_r18_narrow_msrc21'


def test_measures_every_contender_or_says_why_not(monkeypatch, tmp_path):
    def choose(runtime='torch', *options, **named):
        if runtime != 'torch':
            raise UserError(f'{runtime} is not installed')
        return choose_runtime(runtime, *options, **named)

    choose_runtime = inference.choose_runtime
    monkeypatch.setattr(inference, 'choose_runtime', choose)
    monkeypatch.setattr(inference, 'in_fresh_process', in_this_process)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    case = inference.Case(64, 96, torch.get_num_threads(), steps=2)
    results = inference.run(dict.fromkeys(inference.NETWORKS, CONFIG), case, rounds=1)
    assert json.loads(json.dumps(results)) == results
    rows = results['measurements']
    assert [row['network'] for row in rows] == [inference.MMSEG, *['dilated'] * 2, *['JPU'] * 2]
    assert all(len(row['seconds']) == 2 and row['peak_bytes'] > 2**20 for row in rows)
    assert len(results['not_measured']) == 6
    assert results['context'].keys() == {'with', 'without'}
    assert 0 < results['training']['se'] < results['training']['step']
    text = inference_report.markdown(results)
    assert '| dilated | PyTorch | bfloat16 |' in text
    assert '| JPU | OpenVINO | bfloat16 | not measured: openvino is not installed |' in text
    assert text.count('of a training step') == 1
    inference_report.plot(results, tmp_path / 'inference.png')
    assert (tmp_path / 'inference.png').stat().st_size > 10_000
