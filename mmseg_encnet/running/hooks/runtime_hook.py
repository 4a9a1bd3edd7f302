"""Evaluate a checkpoint with another runtime or precision."""

from __future__ import annotations

from mmengine.device import get_device
from mmengine.hooks import Hook

from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.runtimes import choose_runtime, set_runtime


class RuntimeHook(Hook):
    """Lets a runtime compute the network of an evaluation.

    It belongs to runs that only evaluate: the runtime has its own copy of the weights.

    Args:
        runtime: ``'torch'``, ``'onnxruntime'`` or ``'openvino'``.
        precision: ``'float32'`` or ``'bfloat16'``.

    Raises:
        UserError: The runtime cannot compute in the precision, or a package is not installed.
    """

    # After the hook that exchanges the weights for their average.
    priority = 'LOWEST'

    def __init__(self, runtime: str, precision: str) -> None:
        device = get_device() if runtime == 'torch' else None
        self.choice = choose_runtime(runtime, precision, device)

    def before_test_epoch(self, runner) -> None:
        set_runtime(unwrapped(runner.model), self.choice, runner._load_from, runner.cfg.model)
