"""Operators of the context encoding and of its loss. They need torch and nothing else."""

from mmseg_encnet.ops.aggregate import aggregate
from mmseg_encnet.ops.assign import assign, soft_assignment
from mmseg_encnet.ops.depthwise import depthwise_conv2d
from mmseg_encnet.ops.encode import encode
from mmseg_encnet.ops.mixture import mixture_assign
from mmseg_encnet.ops.presence import presence_targets
from mmseg_encnet.ops.upsampled_cross_entropy import (
    CrossEntropySums,
    cross_entropy_sums,
    upsampled_cross_entropy,
)
from mmseg_encnet.ops.winograd import conv3x3

__all__ = [
    'CrossEntropySums',
    'aggregate',
    'assign',
    'conv3x3',
    'cross_entropy_sums',
    'depthwise_conv2d',
    'encode',
    'mixture_assign',
    'presence_targets',
    'soft_assignment',
    'upsampled_cross_entropy',
]
