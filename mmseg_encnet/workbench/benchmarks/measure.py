"""Time and memory of single calls, and the peaks of the machine."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.plain_json import parse_json


def seconds(
    run: Callable[[], Any], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the time of one call, in seconds; ``time.process_time`` counts processor time."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = clock()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return clock() - start


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a module-level function returns in a process that does nothing else."""
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(function, *args).result()


class Stopwatch:
    """Times several contenders in turn, so that drift of the machine affects all of them equally.

    Args:
        rounds: Repetitions of every contender.
        budget: Seconds after which a contender is not repeated further; at least three
            repetitions are timed.
        device: Device that the contenders run on.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        rounds: int,
        budget: float,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.rounds, self.budget, self.device, self.clock = rounds, budget, device, clock

    def medians(
        self, runs: dict[str, Callable[[], Any]], tick: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        """Return the median of each contender, in seconds; tick ``rounds + 1`` times for each."""
        times: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            seconds(run, self.device, self.clock)
            tick()
        for _ in range(self.rounds):
            for name, run in runs.items():
                if len(times[name]) < 3 or sum(times[name]) < self.budget:
                    times[name].append(seconds(run, self.device, self.clock))
                tick()
        return {name: statistics.median(values) for name, values in times.items()}


def kept_bytes(forward: Callable[[], Any], inputs: Iterable[Tensor]) -> int:
    """Return the bytes that autograd keeps for backward in addition to the inputs."""
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward()
    # Kept alive until here, so that no address is used twice.
    del output
    return sum(kept.values())


def peak_bytes(run: Callable[[], Iterable[Tensor]], device: torch.device) -> int:
    """Return the peak memory of a call, in bytes, without its inputs and results."""
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
            events = parse_json(trace.read_text('utf-8'))['traceEvents']
        allocations = sorted(
            (event['ts'], event['args']['Bytes']) for event in events if event['name'] == '[memory]'
        )
        in_use = peak = 0
        for _, size in allocations:
            in_use += size
            peak = max(peak, in_use)
    return peak - sum(tensor.untyped_storage().nbytes() for tensor in results)


def peak_flops(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 1536) -> float:
    """Return the FLOP/s of a large square matrix product.

    On a GPU, single precision may take three tf32 products, if that is faster.
    """

    def best() -> float:
        return 2 * size**3 / min(seconds(lambda: matrix @ matrix, device) for _ in range(8))

    # A GPU takes microseconds for a product, of which the launch is a large part.
    size = 8192 if device.type == 'cuda' else size
    matrix = torch.randn(size, size, device=device).to(dtype)
    found = best()
    if device.type == 'cuda' and dtype == torch.float32:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision('high')
        try:
            found = max(found, best() / 3)
        finally:
            torch.set_float32_matmul_precision(before)
    return found


def peak_bandwidth(device: torch.device, size: int = 2**26) -> float:
    """Return the bandwidth of reading a large tensor, in bytes per second."""
    values = torch.ones(size, device=device)
    best = min(seconds(values.sum, device) for _ in range(8))
    return values.nbytes / best
