"""Loading of kernels that a C++ compiler built at installation."""

from __future__ import annotations

import ctypes
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

NOT_BUILT = (
    'its kernels were not built; install a C++ compiler (g++ or clang++) and reinstall '
    'mmsegmentation-encnet'
)


def load_kernels(folder: Path, functions: dict[str, tuple[Any, list[Any]]]) -> ctypes.CDLL | None:
    """Load the shared library ``kernels`` of an operator.

    Args:
        folder: Where it was built.
        functions: Result and argument types of its functions, by name.

    Returns:
        The library; None if it was not built or cannot be loaded, with a warning.
    """
    file = folder / ('kernels.dll' if sys.platform == 'win32' else 'kernels.so')
    if not file.is_file():
        return None
    try:
        _expose_openmp()
        library = ctypes.CDLL(str(file))
    except OSError as error:
        # For example, it was built against another C library. All other backends still work.
        warnings.warn(
            f'cannot load {file} ({error}), so slower code runs on the CPU; reinstall '
            'mmsegmentation-encnet on this machine.',
            stacklevel=2,
        )
        return None
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _expose_openmp() -> None:
    """Let the kernels find the OpenMP runtime of torch, to share its threads.

    They are linked to none: torch brings its own, under a name that depends on its build.
    """
    loaded: Iterable[str] = ()
    if sys.platform == 'linux':
        maps = Path('/proc/self/maps').read_text(errors='surrogateescape').splitlines()
        loaded = [line.split(maxsplit=5)[5] for line in maps if '/lib' in line]
    elif sys.platform == 'darwin':
        loaded = map(str, (Path(torch.__file__).parent / 'lib').glob('*.dylib'))
    runtimes = [file for file in loaded if re.match(r'lib(gomp|iomp5|omp)[-.]', Path(file).name)]
    if runtimes:
        of_torch = min(runtimes, key=lambda file: 'torch' not in Path(file).parts)
        ctypes.CDLL(of_torch, mode=ctypes.RTLD_GLOBAL)


def instruction_sets(library: ctypes.CDLL | None) -> dict[str, int]:
    """Return the index of each instruction set that the processor supports, fastest first."""
    if library is None:
        return {}
    library.instruction_set.restype = ctypes.c_char_p
    names: list[str] = []
    while (name := library.instruction_set(ctypes.c_int64(len(names)))) is not None:
        names.append(name.decode())
    # PyTorch chooses its own kernels by the same name.
    capability = torch.backends.cpu.get_cpu_capability().lower()
    first = names.index(capability) if capability in names else len(names) - 1
    return {name: index for index, name in enumerate(names) if index >= first}
