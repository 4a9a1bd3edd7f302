"""The cross-entropy of logits resized to the labels: two public functions, several backends.

``reference.py`` is the specification, against which every backend is tested. ``backends.py`` is the
table of backends, ``dispatch.py`` the public functions.
"""

from mmseg_encnet.ops.upsampled_cross_entropy.backends import BACKENDS
from mmseg_encnet.ops.upsampled_cross_entropy.dispatch import (
    CrossEntropySums,
    cross_entropy_sums,
    upsampled_cross_entropy,
)

__all__ = ['BACKENDS', 'CrossEntropySums', 'cross_entropy_sums', 'upsampled_cross_entropy']
