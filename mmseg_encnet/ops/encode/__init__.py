"""The encoding operator: one public function, several backends behind it.

``reference.py`` holds the paper's equations; every backend is tested against it. ``backends.py``
is the table of backends, ``dispatch.py`` the public function.
"""

from mmseg_encnet.ops.encode.backends import BACKENDS, check_backend
from mmseg_encnet.ops.encode.dispatch import encode

__all__ = ['BACKENDS', 'check_backend', 'encode']
