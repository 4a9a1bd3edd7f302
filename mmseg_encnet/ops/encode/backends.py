"""The table of backends: dispatch, messages, benchmarks and config checks all read it.

Each runs ``(x, codewords, scale)`` -> the encoding ``(B, K, C)`` of features ``(B, C, N)``.
"""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops.auto import Automatic, setting
from mmseg_encnet.ops.autotune import Autotuner, at_most, memory_order
from mmseg_encnet.ops.backends import Backend, BackendTable
from mmseg_encnet.ops.encode import dense, mmcv, native, reference, triton

BACKENDS = BackendTable(
    (
        Backend('native', native.encode, native.refusal),
        Backend('dense', dense.encode, lambda *tensors: None),
        Backend('triton', triton.encode, triton.refusal, triton.operators),
        Backend('mmcv', mmcv.encode, mmcv.refusal),
        Backend('reference', reference.encode, lambda *tensors: None),
    ),
    auto=('native', 'dense'),
)


def inputs_text(x: Tensor, codewords: Tensor, scale: Tensor) -> str:
    """Describe the class of inputs for which a choice of ``auto`` holds.

    They have the same dtypes, the same sizes up to the next power of two in the batch and along the
    positions, and the same memory order.
    """
    batch, channels, positions = x.shape
    sizes = at_most(batch), channels, at_most(positions)
    text = [f'{x.dtype} {"x".join(map(str, sizes))}']
    text += [f'{t.dtype} {"x".join(map(str, t.shape))}' for t in (codewords, scale)]
    return ', '.join([*text, memory_order(x)])


# On a GPU, 'auto' times these, the reference first.
AUTOMATIC = Automatic(
    BACKENDS, BACKENDS.auto, ('dense', 'triton'), Autotuner('encode', inputs_text)
)


def check_backend(name: str) -> None:
    """Check that a backend, or what 'auto' stands for, runs on this machine.

    Raises:
        UserError: The backend is unknown or cannot run; the message says why.
    """
    if name == 'auto':
        name = setting()
        if name not in BACKENDS:
            return
    BACKENDS.check(name)
