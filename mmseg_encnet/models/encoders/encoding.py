"""The encoding layer: a learned dictionary and residual statistics over it.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1, after
"Deep TEN: Texture Encoding Network", CVPR 2017.
"""

from __future__ import annotations

from mmseg.registry import MODELS
from torch import Tensor

from mmseg_encnet.ops import encode

from .base import SoftAssignmentEncoder


@MODELS.register_module()
class Encoding(SoftAssignmentEncoder):
    """Residual encoding of a feature map against learned codewords.

    ``e_k = sum_i a_ik (x_i - d_k)`` with the soft assignment
    ``a_ik = softmax_k(s_k |x_i - d_k|^2)``, codewords d and smoothing factors s.

    Parameters, their initialisation and the state-dict keys equal those of
    :class:`mmseg.models.utils.Encoding`, so either loads the other's weights.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        backend: How :func:`mmseg_encnet.ops.encode` computes it.
        **kwargs: Other arguments of :class:`SoftAssignmentEncoder`.
    """

    def __init__(self, channels: int, num_codes: int, backend: str = 'auto', **kwargs) -> None:
        super().__init__(channels, num_codes, **kwargs)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Encode features ``(B, C, H, W)`` or ``(B, C, N)`` into statistics ``(B, K, C)``."""
        return encode(x, self.codewords, self.scale, backend=self.backend)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, backend={self.backend!r}'
