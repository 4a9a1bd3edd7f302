"""The table of backends: dispatch, messages and benchmarks all read it.

Each has the arguments and results of :func:`reference.sums`.
"""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops.auto import Automatic
from mmseg_encnet.ops.autotune import Autotuner, at_most, memory_order
from mmseg_encnet.ops.backends import Backend, BackendTable
from mmseg_encnet.ops.upsampled_cross_entropy import native, reference, strips, triton

BACKENDS = BackendTable(
    (
        Backend('native', native.sums, native.refusal),
        Backend('strips', strips.sums, lambda *arguments: None),
        Backend('triton', triton.sums, triton.refusal, triton.operators),
        Backend('reference', reference.sums, lambda *arguments: None),
    ),
    auto=('native', 'strips'),
)


def inputs_text(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
) -> str:
    """Describe the class of inputs for which a choice of ``auto`` holds.

    They have the same dtype, classes, memory order and options, and the same numbers of images, of
    small positions and of pixels up to the next power of two.
    """
    batch, classes, height, width = logits.shape
    pixels = at_most(label.shape[1] * label.shape[2])
    options = {
        'class weights': class_weight is not None,
        'pixel weights': pixel_weight is not None,
        'smoothing': label_smoothing > 0,
        'sigmoid': use_sigmoid,
    }
    text = [
        f'{logits.dtype} {at_most(batch)}x{classes}x{at_most(height * width)} to {pixels}',
        memory_order(logits),
        *(name for name, used in options.items() if used),
    ]
    return ', '.join(text)


# On a GPU, 'auto' times these, the reference first.
AUTOMATIC = Automatic(
    BACKENDS,
    BACKENDS.auto,
    ('strips', 'triton'),
    Autotuner('upsampled_cross_entropy', inputs_text),
)
