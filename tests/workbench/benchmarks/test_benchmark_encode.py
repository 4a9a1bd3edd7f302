from __future__ import annotations

import json

import pytest
import torch

from mmseg_encnet.ops.encode import BACKENDS
from mmseg_encnet.workbench.benchmarks import encode, encode_report, measure

SMALL = dict(batch=1, channels=8, height=4, width=5, codes=3)


def test_measures_every_contender_or_says_why_not(tmp_path):
    shapes = encode.Shape('small', **SMALL), encode.Shape('last', channels_last=True, **SMALL)
    growth = {'K': tuple(encode.Shape(f'K {k}', **{**SMALL, 'codes': k}) for k in (2, 4))}
    results = encode.run(torch.device('cpu'), shapes, growth, rounds=1)
    assert json.loads(json.dumps(results)) == results
    measured = {row['contender'] for row in results['shapes']}
    assert measured | set(results['not_measured']) == {*encode.CONTENDERS, 'roofline'}
    assert {'dense', encode.MMSEG} <= measured
    for name in ('triton', 'mmcv'):
        assert results['not_measured'][name] == BACKENDS[name].refusal(torch.empty(0))
    row = next(r for r in results['shapes'] if r['contender'] == 'dense')
    assert row['kept_bytes'] == 1 * 3 * 20 * 4
    contenders = {row['contender'] for row in results['growth']['K']}
    assert {encode.PRODUCTS, 'dense', 'roofline'} <= contenders
    assert len(results['growth']['K']) == 2 * len(contenders)

    text = encode_report.markdown(results)
    assert 'not measured' in text
    assert encode.MMSEG in text
    encode_report.plot(results, tmp_path / 'encode.png')
    assert (tmp_path / 'encode.png').stat().st_size > 10_000


def test_slow_contenders_run_twice_and_what_does_not_fit_is_left_out(monkeypatch):
    def fail(*tensors):
        raise torch.cuda.OutOfMemoryError('out of memory')

    shapes = [encode.Shape(name, **SMALL) for name in ('first', 'second', 'large')]
    monkeypatch.setattr(encode, 'LARGE', shapes[2])
    contenders = {
        'slow': encode.Contender(encode.CONTENDERS['dense'].forward, only_first=True),
        'too large': encode.Contender(fail, only_first=True),
    }
    results = encode.run(torch.device('cpu'), tuple(shapes), {}, contenders, rounds=1)
    measured = [row['shape'] for row in results['shapes'] if row['contender'] == 'slow']
    assert measured == ['first', 'large']
    assert results['too_large'] == [['first', 'too large'], ['large', 'too large']]
    assert '| large | too large | not measured: more memory than the GPU has |' in (
        encode_report.markdown(results)
    )


def test_peak_memory_leaves_out_what_is_returned():
    def run():
        scratch = torch.empty(300_000)
        result = torch.empty(100_000)
        del scratch
        return (result,)

    assert measure.peak_bytes(run, torch.device('cpu')) == pytest.approx(1.2e6, rel=0.01)
