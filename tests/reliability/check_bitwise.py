"""Compare results bit for bit across runs, threads, processors and ways to divide the work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

FOLDER = Path(__file__).parent
# PyTorch and our kernels choose their code by the instruction set of the processor; with fewer
# instructions, they run what another processor would run.
CAPABILITIES = {'avx512': 'AVX-512', 'avx2': 'AVX2', 'default': 'no vector extension'}
# Largest difference in comparison to the largest value; half precision of each dtype.
TOLERANCES = {'float32': 2e-3, 'float64': 1e-9}


def computed(folder: Path, name: str, threads: int, **environment: str) -> dict[str, np.ndarray]:
    """Return the results of a new process."""
    out = folder / f'{name}.npz'
    subprocess.run(
        [sys.executable, str(FOLDER / 'bitwise.py'), str(out), str(threads)],
        env=dict(
            os.environ,
            OMP_NUM_THREADS=str(threads),
            PYTHONPATH=os.pathsep.join((str(record.ROOT), str(FOLDER.parent))),
            **environment,
        ),
        check=True,
        capture_output=True,
    )
    with np.load(out) as content:
        return dict(content)


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray], kind: str) -> Any:
    """Return 'same bits', or the largest difference in comparison to the largest value."""
    keys = [key for key in one if key.startswith(kind)]
    assert keys and all(key in other for key in keys), kind
    return compared([(one[key], other[key]) for key in keys])


def compared(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    if all(first.tobytes() == second.tobytes() for first, second in pairs):
        return 'same bits'
    largest = max(float(np.abs(first).max(initial=0)) for first, _ in pairs)
    return max(float(np.abs(first - second).max(initial=0)) for first, second in pairs) / largest


def measure() -> record.Figures:
    own = torch.backends.cpu.get_cpu_capability().lower()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = computed(folder, 'base', 1)
        others = {
            'another run': computed(folder, 'again', 1),
            '2 threads': computed(folder, 'two', 2),
        }
        twice = computed(folder, 'two-again', 2)
        for capability, label in CAPABILITIES.items():
            if capability != own:
                others[label] = computed(folder, capability, 1, ATEN_CPU_CAPABILITY=capability)
    figures: dict[str, Any] = {'instructions of this processor': CAPABILITIES.get(own, own)}
    kinds = list(dict.fromkeys(key.rpartition('/')[0] for key in base))
    same_runs = [difference(base, others['another run'], f'{kind}/') for kind in kinds]
    same_runs += [difference(others['2 threads'], twice, f'{kind}/') for kind in kinds]
    assert set(same_runs) == {'same bits'}, same_runs
    figures['all of the rows below, another run with 1 thread, and two with 2 threads'] = (
        'same bits'
    )
    for kind in kinds:
        found = {
            label: difference(base, other, f'{kind}/')
            for label, other in others.items()
            if label != 'another run'
        }
        tolerance = next((value for key, value in TOLERANCES.items() if kind.endswith(key)), 0.0)
        for label, value in found.items():
            assert value == 'same bits' or value <= tolerance, f'{kind}, {label}: {value}'
        figures[kind] = '; '.join(f'{label}: {shown(value)}' for label, value in found.items())
    workers = [key for key in kinds if key.startswith('data loading')]
    for kind in workers[1:]:
        assert between(base, workers[0], kind) == 'same bits', kind
    figures['data loading with 0, 1 and 4 workers'] = 'same bits'
    for dtype, tolerance in TOLERANCES.items():
        for mode in ('whole', 'windows'):
            value = between(
                base, f'inference, {mode}, batch of 4, {dtype}',
                f'inference, {mode}, one by one, {dtype}',
            )  # fmt: skip
            assert value == 'same bits' or value <= tolerance, f'{mode}, {dtype}: {value}'
            figures[f'inference, {mode}, {dtype}: a batch of 4 and one by one'] = shown(value)
    return figures


def between(found: dict[str, np.ndarray], one: str, other: str) -> Any:
    """Compare two results of the same process."""
    count = sum(key.startswith(f'{one}/') for key in found)
    return compared([(found[f'{one}/{i}'], found[f'{other}/{i}']) for i in range(count)])


def shown(value: Any) -> str:
    return value if isinstance(value, str) else f'differ by {value:.1e}'


if __name__ == '__main__':
    record.run(
        'Equal bits',
        'On one machine, with one installation and the same number of threads, every run computes '
        'the same bits: operators, training, data loading with any number of workers, inference. '
        'Other numbers of threads, batches and processors with other instructions add up in '
        'another order: their results agree to the given part of the largest value, which is '
        'checked, but the bits differ. For resumed runs see "Exact resume", for several processes '
        '"Distributed training and evaluation"; metrics are integers until the last division, and '
        'equal. On GPUs, see --deterministic.',
        measure,
    )
