"""Tensor functions of the context encoding: they need torch and nothing else."""

from mmseg_encnet.ops.encode import assign, encode
from mmseg_encnet.ops.presence import presence_targets

__all__ = ['assign', 'encode', 'presence_targets']
