from __future__ import annotations

import json

import torch

from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS
from mmseg_encnet.workbench.benchmarks import loss, loss_report


def test_measures_every_contender_or_says_why_not(tmp_path):
    shapes = tuple(loss.Shape(classes, size=10) for classes in (3, 5))
    results = loss.run(torch.device('cpu'), shapes, rounds=1)
    assert json.loads(json.dumps(results)) == results
    measured = {row['contender'] for row in results['rows']}
    assert measured | set(results['not_measured']) == set(loss.CONTENDERS)
    assert {'strips', loss.RESIZED} <= measured
    rows = {(row['classes'], row['contender']): row for row in results['rows']}
    assert len(rows) == 2 * len(measured)
    small = 4 * 2 * 5 * 10 * 10
    assert rows[5, 'strips']['kept_bytes'] < 1.1 * small
    assert rows[5, loss.RESIZED]['kept_bytes'] > 64 * small

    text = loss_report.markdown(results)
    assert loss.RESIZED in text and 'labels of 80x80' in text
    assert BACKENDS['native'].refusal() is not None or '| 5 | native |' in text
    loss_report.plot(results, tmp_path / 'loss.png')
    assert (tmp_path / 'loss.png').stat().st_size > 10_000
