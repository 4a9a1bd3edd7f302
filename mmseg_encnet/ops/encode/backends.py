"""The table of backends: dispatch, messages, benchmarks and config checks all read it.

Each runs ``(x, codewords, scale)`` -> the encoding ``(B, K, C)`` of features ``(B, C, N)``.
"""

from __future__ import annotations

from mmseg_encnet.ops.backends import Backend, BackendTable
from mmseg_encnet.ops.encode import dense, mmcv, native, reference, triton

BACKENDS = BackendTable(
    (
        Backend('native', native.encode, native.refusal),
        Backend('dense', dense.encode, lambda *tensors: None),
        Backend('triton', triton.encode, triton.refusal),
        Backend('mmcv', mmcv.encode, mmcv.refusal),
        Backend('reference', reference.encode, lambda *tensors: None),
    ),
    auto=('native', 'dense'),
)
