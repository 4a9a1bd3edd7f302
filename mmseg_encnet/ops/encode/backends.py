"""The table of backends: dispatch, messages, benchmarks and config checks all read it.

Each runs ``(x, codewords, scale)`` -> the encoding ``(B, K, C)`` of features ``(B, C, N)``.
"""

from __future__ import annotations

from mmseg_encnet.ops.autotune import Autotuner
from mmseg_encnet.ops.backends import Backend, BackendTable
from mmseg_encnet.ops.encode import dense, mmcv, native, reference, triton
from mmseg_encnet.ops.encode.auto import Automatic, setting

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
# On a GPU, 'auto' times these, the reference first.
AUTOMATIC = Automatic(BACKENDS, BACKENDS.auto, ('dense', 'triton'), Autotuner('encode'))


def check_backend(name: str) -> None:
    """Check that a backend, or what 'auto' stands for, runs on this machine.

    Raises:
        UserError: The backend is unknown or cannot run; the message says why.
    """
    if name == 'auto':
        name = setting(tuple(BACKENDS))
        if name not in BACKENDS:
            return
    BACKENDS.check(name)
