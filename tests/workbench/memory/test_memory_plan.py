"""Planned memory against what the CPU allocates, and the page of all configs."""

from __future__ import annotations

import bisect
import itertools
import json
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_setup import ROOT
from torch import nn

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.ops import encode
from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS, strips
from mmseg_encnet.workbench.memory import kept
from mmseg_encnet.workbench.memory import plan as plans
from mmseg_encnet.workbench.memory.meter import Meter
from mmseg_encnet.workbench.memory.plan import plan_memory, with_head
from mmseg_encnet.workbench.memory.report import planned_configs, row, smallest_card


def peak_of_tensors(run: Callable[[], Any]) -> int:
    """Return the peak memory of a call on the CPU, in bytes, from the events of the profiler.

    What a convolution allocates and frees within one call is left out. It is the workspace of
    oneDNN, such as a copy of the weights in another layout: 36 MiB for the largest convolution of
    a ResNet-50.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        run()
    with tempfile.NamedTemporaryFile(suffix='.json') as file:
        profiler.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_text())['traceEvents']
    convolutions = sorted(
        (event['ts'], event['ts'] + event['dur'])
        for event in events
        if event['name'] in ('aten::convolution', 'aten::convolution_backward')
    )

    def call(time: float) -> int | None:
        index = bisect.bisect(convolutions, (time, math.inf)) - 1
        return index if index >= 0 and time <= convolutions[index][1] else None

    sizes, allocated = [], {}
    memory = [event for event in events if event['name'] == '[memory]']
    for event in sorted(memory, key=lambda event: event['ts']):
        size, address = event['args']['Bytes'], event['args']['Addr']
        within = call(event['ts'])
        sizes.append(size)
        if size > 0:
            allocated[address] = len(sizes) - 1, within
        else:
            index, since = allocated.pop(address, (0, None))
            if since is not None and since == within:
                sizes[index] = sizes[-1] = 0
    return max(itertools.accumulate(sizes))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Let the CPU run the backends that the plan assumes, with their sizes on a GPU."""
    monkeypatch.setenv('MMSEG_ENCNET_BACKEND', 'dense')
    monkeypatch.setattr(BACKENDS, 'auto', ('strips',))
    monkeypatch.setattr(strips, '_STRIP_CPU', strips._STRIP)


def measured(cfg: Config, batch: int, crop: tuple[int, int]) -> tuple[int, int]:
    """Return the peaks of a training step and of inference on the CPU, in bytes."""
    torch.manual_seed(0)
    init_default_scope('mmseg')
    network = plans.build(cfg, 'cpu')
    optimizer = plans.build_optimizer(network, cfg)
    inputs = plans.make_batch(network, batch, crop, 'cpu')
    plans.train(network, *inputs, optimizer)
    permanent = sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    states = [value for entries in optimizer.state.values() for value in entries.values()]
    state = sum(value.nbytes for value in states if isinstance(value, torch.Tensor))
    training = peak_of_tensors(lambda: plans.train(network, *inputs, optimizer))
    one = plans.make_batch(network, 1, crop, 'cpu')
    inference = peak_of_tensors(lambda: plans.predict(network, *one))
    return (
        permanent + state + batch_bytes(inputs) + training,
        permanent + batch_bytes(one) + inference,
    )


def batch_bytes(inputs: tuple) -> int:
    return inputs[0].nbytes + sum(sample.gt_sem_seg.data.nbytes for sample in inputs[1])


@pytest.mark.usefixtures('as_on_a_gpu')
@pytest.mark.parametrize(
    'name, head, batch, crop',
    [
        ('encnet_r18_narrow_msrc21', 'own', 4, (64, 96)),
        ('encnet_r18_narrow_msrc21', 'mmseg', 2, (128, 128)),
        ('encnet_r18_context-scenes', 'own', 4, (128, 256)),
        ('encnet_r18_camvid', 'own', 2, (216, 216)),
        ('encnet_lite0_camvid', 'own', 2, (96, 96)),
        ('encnet_r50_msrc21', 'own', 1, (128, 128)),
        ('encnet_r50v1c_jpu_ade20k', 'own', 2, (64, 64)),
        ('encnet_mit-b0_ade20k', 'own', 2, (64, 64)),
        ('fcn_r18_narrow_msrc21', 'own', 2, (96, 96)),
    ],
)
def test_within_a_tenth_of_what_the_cpu_allocates(name, head, batch, crop):
    cfg = with_head(load_config(name), head)
    plan = plan_memory(cfg, batch, crop)
    training, inference = measured(cfg, batch, crop)
    assert plan.training_peak == pytest.approx(training, rel=0.1)
    assert plan.inference_peak == pytest.approx(inference, rel=0.1)


def test_the_parts_of_a_plan():
    cfg = load_config('encnet_r18_narrow_msrc21')
    plan = plan_memory(cfg, 2, (64, 96))
    network = nn.ModuleDict(plans.build(cfg, 'meta').named_children())
    sizes = [parameter.nbytes for parameter in network.parameters()]
    assert plan.gradients == plan.optimizer == sum(sizes)
    assert plan.parameters == sum(sizes) + sum(buffer.nbytes for buffer in network.buffers())
    assert plan.inputs == 2 * 64 * 96 * (3 * 4 + 8)
    assert list(plan.activations) == ['backbone', 'decode head', 'auxiliary head', 'losses']
    kept = plan.parameters + plan.optimizer + plan.inputs + sum(plan.activations.values())
    assert plan.training_peak >= kept

    # Activations and images grow with the batch, the rest does not.
    double = plan_memory(cfg, 4, (64, 96))
    assert double.activations['backbone'] == pytest.approx(2 * plan.activations['backbone'], 0.01)
    assert double.parameters == plan.parameters
    assert double.inference_peak == plan.inference_peak

    expanding = plan_memory(with_head(cfg, 'mmseg'), 2, (64, 96))
    assert expanding.activations['decode head'] > 2 * plan.activations['decode head']


def test_what_is_kept_for_backward():
    """Bounds on the backbone of a ResNet-50, whose activations are most of a training step."""
    cfg = load_config('encnet_r50_ade20k')
    sums = {
        name: sum(kept.kept_bytes(one, 2, (96, 96)).values())
        for name, one in kept.contenders(cfg).items()
    }
    plain = sums["recompute='none'"]
    assert next(iter(sums)) == 'mmseg EncHead' and sums['mmseg EncHead'] > 1.6 * plain
    assert sums["recompute='cheap'"] < 0.73 * plain
    assert sums["recompute='most'"] < 0.39 * plain


def test_the_meter_counts_what_is_alive():
    with Meter() as meter:
        a = torch.empty(1000, device='meta')
        with meter.labelled('b'):
            b = torch.empty(10, 100, device='meta')
            view = b.view(-1)[10:]
            b += 1
        assert meter.live == {'other': 4000, 'b': 4000}
        del b
        assert meter.total == 8000
        del view
        assert meter.total == 4000
        torch.empty(2000, device='meta')
        assert (meter.total, meter.peak) == (4000, 12000)
        meter.restart()
        assert meter.peak == 4000
    del a
    assert meter.total == 0


def test_the_meter_replaces_values_that_are_read():
    with Meter():
        x = torch.empty(2, 3, 4, device='meta')
        assert x.sum().item() == 1
        assert (x > 0).any()
        assert x[:, x[0] > 0].shape == (2, 12)
        assert x[x > 0].shape == (24,)
        assert (x > 0).nonzero().shape == (24, 3)
        x[x > 0] = 0.0
        assert x[torch.empty(5, dtype=torch.long, device='meta')].shape == (5, 3, 4)


def test_the_meter_counts_the_workspace_of_the_encoding():
    with Meter() as meter:
        x = torch.empty(2, 64, 900, device='meta')
        codewords, scale = torch.empty(32, 64, device='meta'), torch.empty(32, device='meta')
        before = meter.total
        encoded = encode(x, codewords, scale)
    assert meter.total == before + encoded.nbytes
    # At least a copy of some features, which are centred on a GPU.
    assert meter.peak > meter.total + x.nbytes / 10


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'required: config'),
        (['encnet_r18_narrow_msrc21', '--batch', '0'], 'must be positive, got a batch of 0'),
        (['encnet_r18_narrow_msrc21', '--crop', '64', '-1'], 'a crop of 64 x -1'),
        (['fcn_r18_narrow_msrc21', '--head', 'mmseg'], "got a config with.*'FCNHead'"),
        (['encnet_r18_narrow', '--batch', '2'], "unknown config 'encnet_r18_narrow'"),
        (['pspnet_r18_narrow_msrc21', '--batch', '1'], 'plan for at least two'),
    ],
)
def test_mistakes_are_one_sentence(run_tool, arguments, message):
    result = run_tool('analysis_tools/memory_plan', *arguments)
    assert result.status == 2
    assert 'Traceback' not in result.err
    assert re.search(message, result.err.strip().splitlines()[-1])


def test_the_tool_prints_a_plan(run_tool):
    result = run_tool(
        'analysis_tools/memory_plan', 'encnet_r18_narrow_msrc21', '--batch', '4', '--crop', 64, 96
    )
    assert result.status == 0
    assert 'images (4 x 3 x 64 x 96)' in result.out
    assert '**peak of a training step**' in result.out
    assert 'training fits on 8 GB' in result.out


def test_the_tool_prints_what_is_kept(run_tool):
    result = run_tool(
        'analysis_tools/memory_plan', 'encnet_r18_narrow_msrc21', '--kept', '--crop', 64, 96
    )
    assert result.status == 0
    head, _, *rows = result.out.strip().splitlines()
    assert head == (
        "| Kept (MiB) | mmseg EncHead | recompute='none' | recompute='cheap' | recompute='most' |"
    )
    names = [row.split(' | ')[0].strip('| ') for row in rows if row.startswith('|')]
    assert names[:5] == ['stem', 'stage 1', 'stage 2', 'stage 3', 'stage 4']
    assert 'outputs of convolutions' in names and names[-1] == '**in all**'


def test_the_smallest_card():
    assert smallest_card(2**30) == '8 GB'
    assert smallest_card(7 * 2**30) == '11 GB'
    assert smallest_card(72 * 2**30) == 'none'


def test_the_page_is_up_to_date():
    page = (ROOT / 'docs' / 'memory.md').read_text()
    rows = [line for line in page.splitlines() if line.startswith('| `')]
    assert [line.split('`')[1] for line in rows] == planned_configs(), 'run memory_plan.py --page'
    for name in ('encnet_r18_context-scenes', 'encnet_r50_pcontext'):
        line = f'| {" | ".join(row(name, plan_memory(load_config(name))))} |'
        assert line in rows, 'run tools/analysis_tools/memory_plan.py --page'
