"""Import packages that only an extra of the distribution installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from mmseg_encnet.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Call it where the module is used, not at import time; the tools can then report the error.

    Args:
        module: Name of the module, for example ``'scipy.io'``.
        extra: Extra of the distribution that installs it: ``'data'``, ``'analysis'``, ``'demo'``,
            ``'hf'``, ``'hub'``, ``'lite'``, ``'onnx'``, ``'openvino'`` or ``'tiff'``.

    Raises:
        UserError: The package is not installed.
    """
    package = module.partition('.')[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UserError(
            f'{package} is not installed; install it with: pip install '
            f"'mmsegmentation-encnet[{extra}]'"
        ) from error
