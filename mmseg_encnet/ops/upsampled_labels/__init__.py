"""The labels of logits at the size of an image, without the logits of that size."""

from mmseg_encnet.ops.upsampled_labels.operator import Resizing, upsampled_labels

__all__ = ['Resizing', 'upsampled_labels']
