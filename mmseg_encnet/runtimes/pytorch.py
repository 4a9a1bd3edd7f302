"""PyTorch, with everything that makes a network faster and leaves its labels the same.

Batch norms are folded into the preceding convolutions. On the CPU the memory layout is channels
last, in which oneDNN does not reorder features between convolutions. In bfloat16 the convolutions
and the linear layers of the backbone run in bfloat16, with weights that are converted once, see
:func:`rounded`; the encoding, the gate, the classifier and the SE branch run in single precision.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

from mmseg_encnet.configuration.switches import computes_in_bfloat16
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.models.segmentors.context import Segmentation, compute
from mmseg_encnet.models.segmentors.heads import presence_head

# Side of the image on which a folded network is compared with the plain one, and the largest
# difference of its scores, relative to the largest score.
_SIDE, _TOLERANCE = 64, 1e-3
# Number of values over which errors of rounding are passed on.
_DIFFUSED = 64


def refusal(precision: str, device: torch.device) -> str | None:
    """Return why PyTorch cannot compute in a precision on a device, or None if it can.

    Warns if the precision is slower than single precision.
    """
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        return f'PyTorch finds {count or "no"} GPU{"s" * (count > 1)}; choose another device'
    if precision == 'float32':
        return None
    if device.type == 'cuda' and not torch.cuda.is_bf16_supported():
        return 'this GPU has no bfloat16; use --precision float32'
    if device.type == 'cpu' and not computes_in_bfloat16():
        warnings.warn(
            'bfloat16 is slow on this CPU, which has no instructions for it; use --precision '
            'float32.',
            stacklevel=2,
        )
    return None


def fold(segmentor: BaseSegmentor) -> BaseSegmentor:
    """Return a copy of a segmentor with folded batch norms, without heads that only train.

    Where folding changes the scores, as for convolutions that follow their norm, the copy is not
    folded.
    """
    plain = _inference_copy(segmentor)
    try:
        folded = fuse_conv_bn(copy.deepcopy(plain))
        parameter = next(plain.parameters())
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, input_channels(plain.backbone), _SIDE, _SIDE, generator=generator)
        image = image.to(parameter)
        expected, found = (compute(model, image).logits for model in (plain, folded))
        same = (found - expected).abs().max() <= _TOLERANCE * expected.abs().max()
    except Exception:
        # Norms without parameters, or images of another size only.
        return plain
    return folded if same else plain


def rounded(weight: Tensor) -> Tensor:
    """Return weights ``(outputs, ...)`` with values that bfloat16 can represent.

    The error of each value is added to the next one before that is rounded (error diffusion), so
    that errors cancel in sums over similar inputs. Rounding every value to the nearest shifts the
    mean of a channel, which all later layers see. With it, twice as many pixels of the photographs
    of MSRC-21 get another label.
    """
    rows = weight.detach().float().flatten(1)
    width = min(rows.shape[1], _DIFFUSED)
    # Groups of values are processed in parallel, all rows together.
    groups = nn.functional.pad(rows, (0, -rows.shape[1] % width)).view(-1, width).T.contiguous()
    carry = torch.zeros_like(groups[0])
    for index, values in enumerate(groups):
        values = values + carry
        groups[index] = values.bfloat16()
        carry = values - groups[index]
    return groups.T.reshape(len(rows), -1)[:, : rows.shape[1]].reshape(weight.shape).to(weight)


def round_weights(model: nn.Module, keep: Collection[nn.Module] = ()) -> None:
    """Round the weights of convolutions and linear layers for bfloat16, in place, but some."""
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer not in keep:
            layer.weight.data = rounded(layer.weight)


class TorchNetwork:
    """A folded segmentor in a precision.

    Args:
        segmentor: The segmentor, which is not modified.
        precision: ``float32`` or ``bfloat16``.
    """

    def __init__(self, segmentor: BaseSegmentor, precision: str) -> None:
        self.model = fold(segmentor)
        self.bfloat16 = precision == 'bfloat16'
        if self.bfloat16:
            _to_bfloat16(self.model)
        self.device = next(self.model.parameters()).device.type
        if self.device == 'cpu':
            self.model.to(memory_format=torch.channels_last)

    def __call__(self, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
        """Compute what :func:`mmseg_encnet.models.segmentors.context.segment` returns."""
        if self.device == 'cpu':
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, torch.bfloat16) if self.bfloat16 else nullcontext():
            found = compute(self.model, images, maps)
        return Segmentation(
            # In the layout in which upsampling is tested.
            found.logits.float().contiguous(),
            {key: value.float() for key, value in found.context.items()},
            *(None if part is None else part.float() for part in found[2:]),
        )


def _inference_copy(segmentor: BaseSegmentor) -> BaseSegmentor:
    network = segmentor.network
    # It refers to the segmentor, and may hold a copy already.
    segmentor.network = None
    try:
        copied = copy.deepcopy(segmentor).eval().requires_grad_(False)
    finally:
        segmentor.network = network
    if presence_head(copied) is None:
        copied.auxiliary_head = None
    return copied


def _to_bfloat16(model: BaseSegmentor) -> None:
    """Convert the weights that autocast would convert in every call."""
    precise = set()
    for parent, name, layer in list(_layers_in_single_precision(model)):
        precise.add(layer)
        setattr(parent, name, _SinglePrecision(layer))
    round_weights(model, precise)
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer not in precise:
            layer.to(torch.bfloat16)


def _layers_in_single_precision(
    model: BaseSegmentor,
) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield classifiers and linear layers of the heads, each with its parent and name in it."""
    for head in (model.decode_head, getattr(model, 'auxiliary_head', None)):
        for parent in head.modules() if head is not None else ():
            for name, layer in parent.named_children():
                if isinstance(layer, nn.Linear) or name == 'conv_seg':
                    yield parent, name, layer


class _SinglePrecision(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.layer(x.float())
