"""Packages that the visualizer's backends need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmseg_encnet.errors import UserError

# Backends of the toolbox, with the name of their package, which is also that of its module.
_PACKAGES = {
    'AimVisBackend': 'aim',
    'ClearMLVisBackend': 'clearml',
    'DVCLiveVisBackend': 'dvclive',
    'MLflowVisBackend': 'mlflow',
    'NeptuneVisBackend': 'neptune',
    'TensorboardVisBackend': 'tensorboard',
    'WandbVisBackend': 'wandb',
}


def check_backend(backend: Any) -> None:
    """Check that the package of a backend is installed.

    Args:
        backend: Config of a backend; anything else is left to the toolbox.

    Raises:
        UserError: It is not.
    """
    kind = backend.get('type') if isinstance(backend, dict) else None
    name = (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rpartition('.')[2]
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise UserError(
            f'{name} of the visualizer needs the package {package}, which is not installed; '
            f'install it with: pip install {package}'
        )
