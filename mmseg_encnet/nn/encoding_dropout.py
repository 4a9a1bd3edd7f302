"""The encoding with random smoothing factors.

"EncodingDrop" of PyTorch-Encoding, the released code of Zhang et al., "Context Encoding for
Semantic Segmentation", CVPR 2018; the paper itself does not describe it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.nn.base import Clusters, DictionaryEncoder
from mmseg_encnet.ops import assign, encode
from mmseg_encnet.ops.encode import check_backend


class EncodingDropout(DictionaryEncoder):
    """Residual encoding whose smoothing factors are drawn at random in every training step.

    As :class:`Encoding`, with ``s_k`` uniform in ``(-1, 0)`` in training and its mean, -1/2, in
    evaluation. The factors are not learned.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        backend: How :func:`mmseg_encnet.ops.encode` computes it.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import EncodingDropout
        >>> EncodingDropout(channels=64, num_codes=8)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 8, 64])
    """

    mean_scale: Tensor

    def __init__(self, channels: int, num_codes: int, backend: str = 'auto') -> None:
        super().__init__(channels, num_codes)
        check_backend(backend)
        self.backend = backend
        # A buffer, because codebook initialisation changes it.
        self.register_buffer('mean_scale', torch.full((num_codes,), -0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Encode features ``(B, C, H, W)`` or ``(B, C, N)`` into statistics ``(B, K, C)``."""
        scale = self.mean_scale
        if self.training:
            scale = 2 * scale * torch.rand_like(scale)
        return encode(x, self.codewords, scale, backend=self.backend)

    def _assign(self, x: Tensor) -> Tensor:
        return assign(x, self.codewords, self.mean_scale)

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """Use the centres as codewords, and the smoothing factors of the clusters as the mean."""
        self.codewords.copy_(clusters.centres)
        self.mean_scale.copy_(clusters.smoothing_factors())
