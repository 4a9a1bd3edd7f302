"""Loading of kernels that a C++ compiler built at installation."""

from __future__ import annotations

import ctypes
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

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
    files = [folder / f'kernels{suffix}' for suffix in EXTENSION_SUFFIXES]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        # After torch, so that it shares torch's OpenMP threads instead of starting its own.
        library = ctypes.CDLL(str(file))
    except OSError as error:
        # For example, it was built against another C library. All other backends still work.
        warnings.warn(
            f'cannot load {file} ({error}), so slower code runs on the CPU; reinstall '
            'mmsegmentation-encnet on this machine.',
            stacklevel=2,
        )
        return None
    integer = ctypes.c_int64
    functions = {
        'instruction_set': (ctypes.c_char_p, [integer, ctypes.POINTER(integer)]),
        **functions,
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def instruction_sets(library: ctypes.CDLL | None) -> dict[str, int]:
    """Return the index of each instruction set that the processor supports, fastest first."""
    found: dict[str, int] = {}
    if library is None:
        return found
    count, index = ctypes.c_int64(1), 0
    while index < count.value:
        name = library.instruction_set(index, count)
        if name is not None:
            found[name.decode()] = index
        index += 1
    return found
