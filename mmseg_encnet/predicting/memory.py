"""Estimate the memory that a prediction needs, to refuse an image instead of being killed."""

from __future__ import annotations

from pathlib import Path

import torch
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

# Bytes per pixel of the image while it is labelled: scores of four classes, the best score so far,
# masks and labels of 64 bits.
LABELLING_BYTES = 28
# Predictions of smaller inputs are not worth an estimate.
_SMALL = 2**22
_SAMPLE_SIDE = 128


def is_large(inputs: Tensor, image_pixels: int) -> bool:
    """Return whether a prediction may need much memory.

    Args:
        inputs: The network's input ``(C, H, W)``.
        image_pixels: Number of pixels of the image.
    """
    return max(inputs.shape[1] * inputs.shape[2], image_pixels) >= _SMALL


def prediction_bytes(
    model: BaseSegmentor, inputs: Tensor, image_pixels: int, seg_logits: bool
) -> int:
    """Return a lower bound of the memory that a prediction needs beyond what is in use.

    Args:
        model: The segmentor.
        inputs: The network's input ``(C, H, W)``.
        image_pixels: Number of pixels of the image, which are labelled.
        seg_logits: Whether the scores of all classes are kept.
    """
    if not is_large(inputs, image_pixels):
        return 0
    input_pixels = inputs.shape[1] * inputs.shape[2]
    labels = LABELLING_BYTES + 4 * model.out_channels * seg_logits
    if model.test_cfg.get('mode', 'whole') == 'whole':
        network = input_pixels * _network_bytes_per_pixel(model, inputs)
    else:
        # The sum and the number of the scores of windows, for at least one score.
        network = 8 * input_pixels
    return int(network + labels * image_pixels)


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that is available on a device; None if it is unknown."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if device.type != 'cpu':
        return None
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        free = [int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:')]
    except (OSError, ValueError, IndexError):
        return None
    return min([*free, *_left_in_container()], default=None)


def _left_in_container() -> list[int]:
    """Return the memory that the limit of a container leaves, if there is one."""
    root = Path('/sys/fs/cgroup')
    try:
        limit = int((root / 'memory.max').read_text())
        used = int((root / 'memory.current').read_text())
        cached = dict(line.split() for line in (root / 'memory.stat').read_text().splitlines())
        return [limit - used + int(cached['file'])]
    except (OSError, ValueError, KeyError):
        return []


@torch.no_grad()
def _network_bytes_per_pixel(model: BaseSegmentor, inputs: Tensor) -> float:
    """Return the largest input and output of a layer, per pixel of the network's input."""
    largest = 0

    def measure(layer: nn.Module, given: tuple, output: object) -> None:
        nonlocal largest
        tensors = [tensor for tensor in (*given, output) if isinstance(tensor, Tensor)]
        largest = max(largest, sum(tensor.nbytes for tensor in tensors))

    handles = [
        layer.register_forward_hook(measure)
        for layer in model.modules()
        if not any(layer.children())
    ]
    parameter = next(model.parameters())
    sample = parameter.new_zeros(1, inputs.shape[0], _SAMPLE_SIDE, _SAMPLE_SIDE)
    try:
        model.encode_decode(sample, [dict(img_shape=sample.shape[2:])])
    except Exception:
        # The prediction itself will report it.
        return 0
    finally:
        for handle in handles:
            handle.remove()
    return largest / _SAMPLE_SIDE**2
