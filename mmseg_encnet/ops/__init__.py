"""Tensor functions of the context encoding: they need torch and nothing else."""

from mmseg_encnet.ops.aggregate import aggregate
from mmseg_encnet.ops.encode import assign, encode
from mmseg_encnet.ops.mixture import mixture_assign
from mmseg_encnet.ops.plain import soft_assignment
from mmseg_encnet.ops.presence import presence_targets

__all__ = [
    'aggregate',
    'assign',
    'encode',
    'mixture_assign',
    'presence_targets',
    'soft_assignment',
]
