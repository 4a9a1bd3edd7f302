"""Check an installed wheel: the compiled kernels load, and their results follow the equations.

Needs PyTorch alone. Run from outside the clone, so that the installed package is imported.
"""

from __future__ import annotations

import sys

import torch

from mmseg_encnet.ops import encode, upsampled_cross_entropy
from mmseg_encnet.ops.encode import BACKENDS
from mmseg_encnet.ops.upsampled_labels import Resizing, upsampled_labels


def main() -> int:
    refusal = BACKENDS['native'].refusal()
    if refusal is not None:
        print(f'the kernels are not available: {refusal}', file=sys.stderr)
        return 1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 900, generator=generator)
    codewords = torch.randn(32, 64, generator=generator)
    scale = -torch.rand(32, generator=generator)
    exact = encode(x.double(), codewords.double(), scale.double(), backend='reference')
    torch.testing.assert_close(
        encode(x, codewords, scale, backend='native'), exact.float(), rtol=1e-5, atol=1e-4
    )
    logits = torch.randn(1, 5, 8, 8, generator=generator)
    label = torch.randint(5, (1, 32, 32), generator=generator)
    losses = [
        upsampled_cross_entropy(logits.to(dtype), label) for dtype in (torch.float32, torch.float64)
    ]
    torch.testing.assert_close(losses[0], losses[1].float())
    scores = torch.nn.functional.interpolate(logits, (90, 80), mode='bilinear')
    labels = upsampled_labels(logits[0], [Resizing((90, 80))])
    if labels is None or not torch.equal(labels, scores[0].argmax(dim=0)):
        print('the kernels of the labels do not compute what this version of PyTorch computes')
        return 1
    print(f'Python {sys.version.split()[0]}, PyTorch {torch.__version__}: kernels work')
    return 0


if __name__ == '__main__':
    sys.exit(main())
