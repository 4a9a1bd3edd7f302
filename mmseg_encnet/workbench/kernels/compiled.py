"""Compile the Triton kernels ahead of time and read the machine code, on any Linux machine."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.workbench.kernels import DTYPE_NAMES
from mmseg_encnet.workbench.kernels.hardware import (
    ARCHITECTURES,
    REGISTER_UNIT,
    REGISTERS,
    RESERVED,
    Architecture,
)

DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}
_POINTERS = {
    torch.float32: '*fp32', torch.bfloat16: '*bf16', torch.float16: '*fp16',
    torch.int32: '*i32', torch.int64: '*i64',
}  # fmt: skip
_OPTIONS = ('num_warps', 'num_stages', 'maxnreg')


@dataclass(frozen=True)
class Launch:
    """A kernel and the arguments of one call.

    Attributes:
        backend: Module whose ``load_kernels()`` returns the kernel.
        kernel: Name of the kernel.
        grid: Programs in each dimension.
        arguments: Tensors and integers, in the order of the parameters.
        options: Compile-time constants, warps and stages.
    """

    backend: ModuleType
    kernel: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class _Recorder:
    def __init__(self, backend: ModuleType) -> None:
        self.backend, self.launches = backend, []  # type: ModuleType, list[Launch]

    def __getattr__(self, name: str) -> Any:
        recorder = self

        class Kernel:
            def __getitem__(self, grid: tuple[int, ...]) -> Any:
                def launch(*arguments: Any, **options: Any) -> None:
                    recorder.launches.append(
                        Launch(recorder.backend, name, grid, arguments, options)
                    )

                return launch

        return Kernel()


@contextmanager
def recorded(backend: ModuleType) -> Iterator[list[Launch]]:
    """Record the kernels that a backend launches instead of running them.

    On the ``meta`` device, nothing is computed or allocated.
    """
    recorder = _Recorder(backend)
    with mock.patch.object(backend, 'load_kernels', lambda: recorder):
        yield recorder.launches


@dataclass(frozen=True)
class Compiled:
    """What one kernel compiles to.

    Attributes:
        kernel, architecture, dtype: What was compiled.
        case: Sizes and options that matter, in words, for the tables.
        tiles: Number of the tile sizes; 0 is the default.
        warps, stages: Options of the compilation.
        registers: Registers per thread.
        spilled: Bytes per thread that the machine code spills to memory: its stack frame.
        spills: Instructions that read or write spilled registers.
        shared: Shared memory of a program, in bytes.
        tensor_columns: Columns of tensor memory of a program (sm_100).
        products: Tensor-core instructions by name.
        asynchronous: Instructions that load shared memory without waiting.
        multiplies: Whether the kernel computes matrix products.
    """

    kernel: str
    architecture: Architecture
    dtype: str
    case: str
    tiles: int
    warps: int
    stages: int
    registers: int
    spilled: int
    spills: int
    shared: int
    tensor_columns: int
    products: dict[str, int]
    asynchronous: int
    multiplies: bool = True

    @property
    def programs(self) -> int:
        """Programs that a multiprocessor holds at once."""
        limits = self.architecture
        per_warp = -(-self.registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
        fitting = [
            limits.programs,
            limits.warps // self.warps,
            REGISTERS // (per_warp * self.warps),
            limits.shared // (self.shared + RESERVED),
        ]
        if self.tensor_columns:
            fitting.append(limits.tensor_columns // self.tensor_columns)
        return min(fitting) if self.shared <= limits.shared_per_program else 0

    @property
    def occupancy(self) -> float:
        """Resident warps as a share of the most that a multiprocessor holds."""
        return self.programs * self.warps / self.architecture.warps

    @property
    def tiles_in_flight(self) -> int:
        """Tiles that a multiprocessor loads or computes at once.

        Every resident program has one, and one more for every further stage of a pipeline of
        asynchronous loads.
        """
        return self.programs * (max(1, self.stages - 1) if self.asynchronous else 1)

    def faults(self) -> list[str]:
        """Return what would make the kernel slow or impossible on a card."""
        found = []
        if self.spilled or self.spills:
            found.append(f'{self.spilled} bytes of registers are spilled')
        if self.multiplies and not self.products:
            found.append('it has no tensor-core instruction')
        if self.shared > self.architecture.shared_per_program:
            found.append(f'{self.shared} bytes of shared memory do not fit')
        elif self.tiles_in_flight < 2:
            found.append(f'a multiprocessor holds {self.tiles_in_flight} tiles at once')
        return found


def _tool(name: str) -> Path:
    try:
        import triton
    except ImportError as error:
        raise UserError(
            'the package triton is not installed; install it with: pip install triton'
        ) from error
    file = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / name
    if not file.is_file():
        raise UserError(f'{file} does not exist; install triton from its wheel for Linux.')
    return file


@contextmanager
def _binary(content: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(content)
        file.flush()
        yield file.name


def _source(launch: Launch) -> Any:
    """Describe the arguments to the compiler as Triton does when it launches the kernel."""
    from triton.compiler import ASTSource

    function = getattr(launch.backend.load_kernels(), launch.kernel)
    signature, constants, attributes = {}, {}, {}
    for index, (name, value) in enumerate(zip(function.arg_names, launch.arguments)):
        if isinstance(value, torch.Tensor):
            signature[name] = _POINTERS[value.dtype]
        elif isinstance(value, float):
            signature[name] = 'fp32'
            continue
        elif value == 1:
            signature[name], constants[name] = 'constexpr', 1
        else:
            signature[name] = 'i32'
        # Memory of the allocator starts at a multiple of 16.
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            attributes[index,] = [['tt.divisibility', 16]]
    for name, value in launch.options.items():
        if name not in _OPTIONS:
            signature[name], constants[name] = 'constexpr', value
    return ASTSource(function, signature, constants, attributes)


_INSTRUCTION = re.compile(r'^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)', re.M)


def compile_launch(
    launch: Launch,
    architecture: int,
    dtype: str,
    case: str,
    tiles: int = 0,
    multiplies: bool = True,
) -> Compiled:
    """Compile one kernel for an architecture; takes about three seconds.

    Args:
        launch: From :func:`recorded`.
        architecture: Compute capability without the point.
        dtype, case, tiles, multiplies: See :class:`Compiled`.

    Raises:
        UserError: triton or its tools are not installed, or the kernel does not compile.
    """
    cuobjdump = _tool('cuobjdump')
    import triton
    from triton.backends.compiler import GPUTarget

    options = {name: launch.options[name] for name in _OPTIONS if name in launch.options}
    try:
        kernel = triton.compile(
            _source(launch), target=GPUTarget('cuda', architecture, 32), options=options
        )
    except Exception as error:
        raise UserError(
            f'{launch.kernel} does not compile for sm_{architecture}: {first_line(error)}'
        ) from error
    with _binary(kernel.asm['cubin']) as file:
        usage, code = (
            subprocess.run(
                [cuobjdump, flag, file], capture_output=True, text=True, check=True
            ).stdout
            for flag in ('-res-usage', '-sass')
        )
    counts = Counter(_INSTRUCTION.findall(code))
    registers, stack = (
        int(re.search(rf'{key}:(\d+)', usage).group(1))  # type: ignore[union-attr]
        for key in ('REG', 'STACK')
    )
    return Compiled(
        kernel=launch.kernel,
        architecture=ARCHITECTURES[architecture],
        dtype=dtype,
        case=case,
        tiles=tiles,
        warps=kernel.metadata.num_warps,
        stages=kernel.metadata.num_stages,
        registers=registers,
        spilled=stack,
        spills=counts['LDL'] + counts['STL'],
        shared=kernel.metadata.shared,
        tensor_columns=getattr(kernel.metadata, 'tmem_size', 0) or 0,
        products={name: n for name, n in counts.items() if 'MMA' in name},
        asynchronous=counts['LDGSTS'] + counts['UTMALDG'],
        multiplies=multiplies,
    )
