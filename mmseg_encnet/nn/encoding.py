"""The encoding layer: a learned dictionary and residual statistics over it.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1, after
"Deep TEN: Texture Encoding Network", CVPR 2017.
"""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.nn.base import SoftAssignmentEncoder
from mmseg_encnet.ops import encode
from mmseg_encnet.ops.encode import check_backend


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

    Raises:
        UserError: ``channels`` or ``num_codes`` is not positive, or the backend is unknown or not
            available on this machine.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import Encoding
        >>> Encoding(channels=64, num_codes=8)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 8, 64])
    """

    def __init__(self, channels: int, num_codes: int, backend: str = 'auto', **kwargs) -> None:
        super().__init__(channels, num_codes, **kwargs)
        check_backend(backend)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Encode features ``(B, C, H, W)`` or ``(B, C, N)`` into statistics ``(B, K, C)``."""
        return encode(x, self.codewords, self.scale, backend=self.backend)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, backend={self.backend!r}'
