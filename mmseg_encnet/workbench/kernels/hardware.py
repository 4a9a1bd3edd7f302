"""Limits of GPU architectures and peaks of cards, from NVIDIA's publications."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Limits of one multiprocessor.

    Source: CUDA C++ Programming Guide 12.9, section "Compute Capabilities", table "Technical
    Specifications per Compute Capability", and section "Tensor Memory" of the PTX ISA.

    Attributes:
        number: Compute capability without the point, 90 for ``sm_90``.
        warps: Most resident warps.
        programs: Most resident thread blocks.
        shared: Shared memory in bytes, of which every block takes `RESERVED` in addition.
        shared_per_program: Most shared memory of one block, in bytes.
        tensor_columns: Columns of tensor memory; 0 without it.
    """

    number: int
    warps: int
    programs: int
    shared: int
    shared_per_program: int
    tensor_columns: int = 0

    @property
    def name(self) -> str:
        return f'sm_{self.number}'


REGISTERS = 65536
REGISTERS_PER_THREAD = 255
# Registers are allocated to a warp in units of this many.
REGISTER_UNIT = 256
RESERVED = 1024
# Results per clock and multiprocessor of all architectures below: table "Throughput of Native
# Arithmetic Instructions" of the same guide.
EXPONENTIALS = 16
_KIB = 1024

ARCHITECTURES = {
    architecture.number: architecture
    for architecture in (
        Architecture(80, 64, 32, 164 * _KIB, 163 * _KIB),
        Architecture(86, 48, 16, 100 * _KIB, 99 * _KIB),
        Architecture(89, 48, 24, 100 * _KIB, 99 * _KIB),
        Architecture(90, 64, 32, 228 * _KIB, 227 * _KIB),
        Architecture(100, 64, 32, 228 * _KIB, 227 * _KIB, tensor_columns=512),
        Architecture(120, 48, 24, 100 * _KIB, 99 * _KIB),
    )
}


@dataclass(frozen=True)
class Card:
    """Peaks of a card, dense (without structured sparsity).

    Attributes:
        name: Name in the tables.
        architecture: Compute capability without the point.
        bandwidth: Bytes per second of the device memory.
        cache: L2 cache in bytes.
        tf32, half: FLOP/s of the tensor cores with single-precision sums.
        units: Multiprocessors.
        clock: Boost clock in Hz, at which the published FLOP/s are reached.
        source: Publication of the figures.
    """

    name: str
    architecture: int
    bandwidth: float
    cache: int
    tf32: float
    half: float
    units: int
    clock: float
    source: str

    @property
    def exponentials(self) -> float:
        """Exponentials per second."""
        return self.units * EXPONENTIALS * self.clock


CARDS = (
    Card(
        'A100 40 GB', 80, 1555e9, 40 * 2**20, 156e12, 312e12, 108, 1.41e9,
        'NVIDIA A100 Tensor Core GPU Architecture (white paper)',
    ),
    Card(
        'H100 SXM', 90, 3350e9, 50 * 2**20, 494.7e12, 989.4e12, 132, 1.98e9,
        'NVIDIA H100 Tensor Core GPU Architecture (white paper)',
    ),
    Card(
        'RTX 4090', 89, 1008e9, 72 * 2**20, 82.6e12, 165.2e12, 128, 2.52e9,
        'NVIDIA Ada GPU Architecture (white paper)',
    ),
)  # fmt: skip
