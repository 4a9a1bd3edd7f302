"""The compiled Triton kernels: no spilled registers, tensor cores, two tiles in flight."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import replace

import pytest
import torch

from mmseg_encnet.ops.encode import BACKENDS
from mmseg_encnet.ops.encode.triton.tiles import MOST_VARIANTS, variants
from mmseg_encnet.workbench.kernels import loss, report
from mmseg_encnet.workbench.kernels.compiled import DTYPES, Compiled
from mmseg_encnet.workbench.kernels.cost import Shape, predict
from mmseg_encnet.workbench.kernels.encoding import (
    STREAMING,
    compile_kernel,
    distinct_kernels,
    launches,
)
from mmseg_encnet.workbench.kernels.hardware import ARCHITECTURES, CARDS

compiles = pytest.mark.skipif(
    platform.system() != 'Linux' or importlib.util.find_spec('triton') is None,
    reason='needs triton, whose compiler is part of its Linux wheel',
)
# All architectures and dtypes, with each kernel at the fewest and the most codewords, by default
# and with some of the other tile sizes; tools/analysis_tools/kernel_report.py compiles all.
CASES = [
    (STREAMING[(i + j) % 3], architecture, dtype, (32, 128, 16, 64)[(i + j) % 4], 0)
    for i, architecture in enumerate(ARCHITECTURES)
    for j, dtype in enumerate(DTYPES)
]
for i, architecture in enumerate(ARCHITECTURES):
    dtype, codes = list(DTYPES)[i % 3], (128, 64, 32, 16)[i % 4]
    others = [case for case in distinct_kernels(codes, dtype) if case[1]]
    kernel, tiles = others[i % len(others)]
    CASES.append((kernel, architecture, dtype, codes, tiles))


# All options, dtypes and tile sizes once.
LOSS_CASES = [
    ('differentiate', 86, 'float32', 'softmax, weights, smoothing', 0),
    ('differentiate', 120, 'float16', 'sigmoid, weights', 2),
    ('normalise', 90, 'bfloat16', 'softmax', 1),
]


@compiles
@pytest.mark.parametrize(('kernel', 'architecture', 'dtype', 'options', 'tiles'), LOSS_CASES)
def test_the_loss_compiles_to_fast_code(kernel, architecture, dtype, options, tiles):
    compiled = loss.compile_kernel(kernel, architecture, dtype, options, tiles)
    assert compiled.faults() == []


def test_the_loss_has_no_tensor_of_the_size_of_the_resized_logits():
    for options in loss.OPTIONS:
        steps = loss.launches(loss.Shape(2, 150, 60), torch.float32, options)
        assert [step.kernel for step in steps] == ['normalise', 'finish', 'differentiate']
        tensors = [t for step in steps for t in step.arguments if isinstance(t, torch.Tensor)]
        assert max(tensor.numel() for tensor in tensors) == 2 * 150 * 60 * 60


@pytest.mark.parametrize('card', CARDS, ids=lambda card: card.name)
def test_predicted_times_of_the_loss(card):
    small, large = loss.Shape(2, 150, 60), loss.Shape(16, 150, 90)
    for dtype in DTYPES:
        costs = [loss.predict(shape, dtype, card) for shape in (small, large)]
        for cost in costs:
            assert max(cost.memory, cost.exponentials) < cost.seconds < cost.pytorch_seconds / 5
        pixels = 2 * 480 * 480
        assert costs[0].exponentials > 2 * 150 * pixels / card.exponentials
        assert costs[0].peak_bytes < 2**20 * 10 < costs[0].num_bytes
    # A published peak: two operations for each of 128 or 64 lanes.
    assert card.exponentials == card.units * 16 * card.clock


@compiles
@pytest.mark.parametrize(('kernel', 'architecture', 'dtype', 'codes', 'tiles'), CASES)
def test_compiles_to_fast_code(kernel, architecture, dtype, codes, tiles):
    compiled = compile_kernel(kernel, architecture, dtype, codes, tiles=tiles)
    assert compiled.faults() == []
    assert compiled.asynchronous


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('channels_last', [False, True])
def test_a_step_has_four_launches_besides_reductions(dtype, channels_last):
    steps = launches(2, 512, 3600, 32, DTYPES[dtype], channels_last)
    names = [step.kernel for step in steps]
    assert [name for name in names if name in STREAMING] == [
        'assign',
        'gather',
        'differentiate',
        'gather',
    ]
    assert len(names) <= 9
    forward = launches(2, 512, 3600, 32, DTYPES[dtype], backward=False)
    assert [step.kernel for step in forward] == ['prepare', 'assign', 'gather', 'finish_encoding']


def test_no_kernel_has_a_buffer_of_codewords_and_channels_per_tile():
    """Only the shares of `gather` do, of which there are two programs per multiprocessor."""
    shape = dict(batch=2, channels=512, positions=16384, codes=32, dtype=torch.float32)
    for step in launches(**shape):
        for tensor in step.arguments:
            if isinstance(tensor, torch.Tensor) and tensor.shape[-2:] == (32, 512):
                assert tensor.numel() <= 2 * 32 * 512


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('codes', [1, 16, 17, 32, 64, 100, 128])
def test_candidates_for_every_class_of_shapes(codes, dtype):
    found = variants(codes, DTYPES[dtype])
    assert 3 <= len(set(found)) == len(found) <= MOST_VARIANTS
    assert not found[0].grouped


def test_more_codewords_than_a_tile_holds(run_tool):
    result = run_tool('analysis_tools/kernel_report', '--codes', 32, 256)
    assert result.status == 2
    assert 'error: codewords must be 1 to 128, got 32, 256' in result.err


def test_auto_times_the_variants():
    with torch.device('meta'):
        tensors = torch.empty(2, 512, 3600), torch.empty(32, 512), torch.empty(32)
    names = list(BACKENDS['triton'].candidates(*tensors))
    assert names[:3] == ['triton/tiles 0', 'triton/tiles 1', 'triton/tiles 2']


GOOD = Compiled(
    kernel='assign',
    architecture=ARCHITECTURES[90],
    dtype='float32',
    case='K 32',
    tiles=0,
    warps=4,
    stages=3,
    registers=128,
    spilled=0,
    spills=0,
    shared=32 * 1024,
    tensor_columns=0,
    products={'HGMMA': 12},
    asynchronous=21,
)


def test_occupancy_is_limited_by_the_scarcest_resource():
    assert (GOOD.programs, GOOD.occupancy, GOOD.tiles_in_flight) == (4, 0.25, 8)
    # By registers, 65536 / (168 * 128), and by warps.
    assert replace(GOOD, registers=168).programs == 3
    assert replace(GOOD, warps=16, registers=32).programs == 4
    # Every program takes 1 KiB of shared memory in addition.
    assert replace(GOOD, shared=57 * 1024).programs == 3
    on_sm_100 = replace(GOOD, architecture=ARCHITECTURES[100], tensor_columns=256)
    assert on_sm_100.programs == 2
    assert replace(GOOD, asynchronous=0).tiles_in_flight == 4


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        (dict(), None),
        (dict(spilled=48), '48 bytes of registers are spilled'),
        (dict(products={}), 'no tensor-core instruction'),
        (dict(products={}, multiplies=False), None),
        (dict(shared=2**18), 'do not fit'),
        (dict(registers=255, warps=8, stages=1), 'holds 1 tiles at once'),
    ],
)
def test_faults(change, fault):
    found = report.faults([replace(GOOD, **change)])
    assert len(found) == (fault is not None)
    assert fault is None or (
        fault in found[0] and 'assign on sm_90, float32, K 32, tiles 0' in found[0]
    )


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('card', CARDS, ids=lambda card: card.name)
def test_predicted_times(card, dtype):
    small, large = Shape(2, 512, 60, 60, 32), Shape(16, 512, 90, 90, 32)
    for backward in (False, True):
        costs = [predict(shape, dtype, card, backward) for shape in (small, large)]
        for cost in costs:
            assert cost.floor < cost.memory <= cost.seconds
            assert max(cost.memory, cost.products) <= cost.seconds
        assert costs[0].launches == costs[1].launches
    # The features cross the memory bus once where they fit into the cache.
    features = small.batch * small.channels * small.positions * DTYPES[dtype].itemsize
    assert features < predict(small, dtype, card, backward=False).num_bytes < 1.6 * features
    features = large.batch * large.channels * large.positions * DTYPES[dtype].itemsize
    assert 2 * features < predict(large, dtype, card, backward=False).num_bytes


def test_tables():
    rows = [GOOD, replace(GOOD, kernel='gather', registers=96)]
    assert (
        '| assign | sm_90 | float32 | K 32 | 0 | 128 | 0 | 32 KiB | 12 HGMMA | 4 | 25% | 8 |'
        in (report.compiled_table(rows))
    )
    assert '| encoding | sm_90 | float32 | 96 to 128 | 0 |' in report.summary_table(rows)
    rows.append(replace(GOOD, kernel='normalise', case='sigmoid', multiplies=False, products={}))
    assert '| loss | sm_90 | float32 | 128 | 0 |' in report.summary_table(rows)
    table = report.predicted_table(dtypes=['bfloat16'])
    table_of_loss = report.predicted_loss_table(dtypes=['bfloat16'])
    assert all(card.name in text for card in CARDS for text in (table, table_of_loss))
    assert '"tiles_in_flight": 8' in report.as_json(rows)
