"""Operators of the context encoding. They need torch and nothing else."""

from mmseg_encnet.ops.aggregate import aggregate
from mmseg_encnet.ops.assign import assign, soft_assignment
from mmseg_encnet.ops.encode import encode
from mmseg_encnet.ops.mixture import mixture_assign
from mmseg_encnet.ops.presence import presence_targets

__all__ = [
    'aggregate',
    'assign',
    'encode',
    'mixture_assign',
    'presence_targets',
    'soft_assignment',
]
