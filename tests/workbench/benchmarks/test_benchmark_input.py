"""The benchmark of the input pipelines, with a small case."""

from __future__ import annotations

import pytest

from mmseg_encnet.datasets.transforms import native
from mmseg_encnet.workbench.benchmarks import input as benchmark
from mmseg_encnet.workbench.benchmarks import input_report


@pytest.fixture(scope='module')
def results():
    cases = (
        benchmark.Case('MSRC-21', 'encnet_r50_msrc21', 40, 60),
        benchmark.Case('ADE20K', 'encnet_r50v1c_ade20k', 50, 70),
    )
    return benchmark.run(cases, images=2, views=1, rounds=1)


def test_all_contenders_compute_the_same_bits(results):
    contenders = [benchmark.PLAIN, benchmark.PILLOW]
    if native.available():
        contenders.append(benchmark.KERNELS)
    measured = [(row['data'], row['contender']) for row in results['rows']]
    assert measured == [(data, name) for data in ('MSRC-21', 'ADE20K') for name in contenders]
    assert all(row['equal'] for row in results['rows'])
    assert all(
        row['per_second'] == pytest.approx(1e3 / row['sample_ms']) for row in results['rows']
    )


def test_the_steps_are_those_of_the_pipeline(results):
    plain, together = (row['steps'] for row in results['rows'][:2])
    assert {'RandomResize', 'Pad', 'RandomCrop'} <= plain.keys()
    assert plain.keys() - together.keys() == {'RandomResize', 'Pad', 'RandomCrop'}
    assert together.keys() - plain.keys() == {'ResizeAndCrop'}


def test_report(results, tmp_path):
    text = input_report.markdown(results)
    assert '| MSRC-21 | 60x40, ' in text
    assert 'NO' not in text
    input_report.plot(results, tmp_path / 'input.png')
    assert (tmp_path / 'input.png').stat().st_size > 1000
