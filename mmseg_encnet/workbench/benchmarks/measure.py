"""Time, memory and the machine they are measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, threads, memory (GiB), GPU and versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if 'model name' in line]
        name = names[0].split(':')[1].strip() if names else name
    gpu = torch.cuda.get_device_name(device) if device.type == 'cuda' else None
    return dict(
        processor=name,
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        memory_gib=round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30),
        gpu=gpu,
        torch=torch.__version__,
        python=platform.python_version(),
        system=platform.system(),
    )


def machine_text(machine: dict[str, Any]) -> str:
    """What :func:`describe_machine` found, in one line."""
    place = machine['gpu'] or f'{machine["processor"]}, {machine["threads"]} threads'
    return (
        f'{place}, {machine["memory_gib"]} GiB, torch {machine["torch"]}, Python '
        f'{machine["python"]}'
    )


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """One call, in seconds."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class Stopwatch:
    """Times several contenders in turns, so that a busy moment of the machine meets all alike.

    Args:
        rounds: Turns of every contender.
        budget: Seconds after which a contender takes no further turn; it has three at least.
        device: Where the contenders run.
    """

    def __init__(self, rounds: int, budget: float, device: torch.device) -> None:
        self.rounds, self.budget, self.device = rounds, budget, device

    def medians(
        self, runs: dict[str, Callable[[], Any]], tick: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        """Median seconds by name; `tick` is called ``rounds + 1`` times for each."""
        times: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            seconds(run, self.device)
            tick()
        for _ in range(self.rounds):
            for name, run in runs.items():
                if len(times[name]) < 3 or sum(times[name]) < self.budget:
                    times[name].append(seconds(run, self.device))
                tick()
        return {name: statistics.median(values) for name, values in times.items()}


def kept_bytes(forward: Callable[[], Any], inputs: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for backward beyond the inputs."""
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward()
    # Held until here, so that no two tensors had the same address.
    del output
    return sum(kept.values())


def peak_bytes(run: Callable[[], Iterable[Tensor]], device: torch.device) -> int:
    """Largest memory in use during a call beyond what was there before and what it returns."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        results = run()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            results = run()
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, 'trace.json')
            profiler.export_chrome_trace(str(trace))
            events = json.loads(trace.read_text())['traceEvents']
        allocations = sorted(
            (event['ts'], event['args']['Bytes']) for event in events if event['name'] == '[memory]'
        )
        in_use = peak = 0
        for _, size in allocations:
            in_use += size
            peak = max(peak, in_use)
    return peak - sum(tensor.untyped_storage().nbytes() for tensor in results)


def peak_flops(device: torch.device, size: int = 1536) -> float:
    """Floating-point operations per second of a large square matrix product in float32."""
    matrix = torch.randn(size, size, device=device)
    best = min(seconds(lambda: matrix @ matrix, device) for _ in range(8))
    return 2 * size**3 / best


def peak_bandwidth(device: torch.device, size: int = 2**26) -> float:
    """Bytes per second that reading a large tensor moves."""
    values = torch.ones(size, device=device)
    best = min(seconds(values.sum, device) for _ in range(8))
    return values.nbytes / best
