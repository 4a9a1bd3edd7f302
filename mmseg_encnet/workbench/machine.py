"""The machine that a measurement was taken on, and the memory of its processes."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, threads, memory (GiB), GPU and versions."""
    cpuinfo = Path('/proc/cpuinfo')
    name = cpuinfo.exists() and re.search(
        r'^model name\s*: (.+)', cpuinfo.read_text(encoding='utf-8'), re.M
    )
    return dict(
        processor=name[1].strip() if name else platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        memory_gib=round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30),
        gpu=torch.cuda.get_device_name(device) if device.type == 'cuda' else None,
        torch=torch.__version__,
        python=platform.python_version(),
        system=platform.system(),
    )


def machine_text(machine: dict[str, Any]) -> str:
    """Return the result of :func:`describe_machine` as one line."""
    place = machine['gpu'] or f'{machine["processor"]}, {machine["threads"]} threads'
    return (
        f'{place}, {machine["memory_gib"]} GiB, torch {machine["torch"]}, Python '
        f'{machine["python"]}'
    )


def peak_process_bytes(device: torch.device) -> int:
    """Return the peak memory of this process so far, in bytes.

    On a GPU this is the peak of its allocator, on the CPU the largest resident set.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    # macOS reports bytes, Linux KiB.
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
