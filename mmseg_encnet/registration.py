"""Register all parts of the package with the toolbox."""

from __future__ import annotations

import functools
import sys


@functools.cache
def register() -> None:
    """Import and register models, data sets, metrics, hooks and visualizer, once per process.

    Raises:
        ImportError: The toolbox is missing or broken; the message is one sentence with the command
            that fixes it.
    """
    from mmseg_encnet.toolbox import require_toolbox

    require_toolbox()
    from mmseg_encnet import (  # noqa: F401
        datasets,
        evaluation,
        models,
        resuming,
        toolbox_changes,
        visualization,
    )
    from mmseg_encnet.checkpoints import (  # noqa: F401  (schemes for checkpoints)
        packages,
        pytorch_encoding,
        shipped_weights,
        toolbox_hosts,
    )
    from mmseg_encnet.running import hooks, layer_decay, mixed_precision  # noqa: F401

    toolbox_changes.apply()


def postponed() -> bool:
    """Return whether this process runs a tool that calls :func:`register` after its arguments.

    The tool states it, see :mod:`mmseg_encnet.program`: any other program that imports the package
    expects the parts to be registered.
    """
    return getattr(sys.modules.get('__main__'), '__mmseg_encnet_tool__', False) is True
