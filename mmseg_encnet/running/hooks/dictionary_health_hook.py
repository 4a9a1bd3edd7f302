"""Monitor how the codewords of a dictionary are used."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.running.hooks.codebook_init_hook import find_dictionary


class DictionaryHealth(NamedTuple):
    """Statistics of the soft assignment of features to a dictionary.

    Attributes:
        shares: Fraction of the features assigned to each codeword, ``(K,)``.
        perplexity: Effective number of codewords: the exponential of the entropy of the shares,
            from 1 (one codeword takes all) to K.
        assignment_entropy: Mean entropy of the assignment of a position, in nats: 0 if hard, log K
            if uniform.
        smallest_distance: Smallest distance between two codewords; infinite if there is only one.
    """

    shares: Tensor
    perplexity: float
    assignment_entropy: float
    smallest_distance: float


def dictionary_health(weights: Tensor, codewords: Tensor) -> DictionaryHealth:
    """Return the statistics of soft assignments ``(B, K, N)`` to codewords ``(K, C)``."""
    shares = weights.mean(dim=(0, 2))
    # A plain mean over processes: crops have the same number of positions.
    all_reduce(shares, op='mean')
    entropy = torch.special.entr(weights).sum(dim=1).mean()
    all_reduce(entropy, op='mean')
    distances = torch.pdist(codewords)
    return DictionaryHealth(
        shares,
        torch.special.entr(shares).sum().exp().item(),
        entropy.item(),
        distances.min().item() if len(distances) else float('inf'),
    )


@HOOKS.register_module()
class DictionaryHealthHook(Hook):
    """Logs how the codewords are used in training, and warns when they die.

    Every ``interval`` iterations it logs ``codeword_perplexity``, ``assignment_entropy`` and
    ``codeword_distance`` with the losses (see :class:`DictionaryHealth`; the distance only if there
    are two codewords), and ``codeword_share/00`` and so on to the visualizer's backends.

    Args:
        interval: Iterations between two measurements.
        dead_below: A codeword is dead if its share is below this fraction of a uniform one,
            ``1 / K``.

    Raises:
        UserError: The model has no dictionary.
    """

    def __init__(self, interval: int = 50, dead_below: float = 0.01) -> None:
        self.interval = interval
        self.dead_below = dead_below
        self._dead: set[int] = set()
        self._encoder = self._handle = self._features = None

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        self._encoder = find_dictionary(model, type(self).__name__)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if (runner.iter + 1) % self.interval == 0:
            self._handle = self._encoder.register_forward_pre_hook(self._keep_features)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._handle is None:
            return
        self._handle.remove()
        with torch.no_grad():
            weights = self._encoder.assign(self._features.flatten(2)).float()
            health = dictionary_health(weights, self._encoder.codewords.float())
        self._handle = self._features = None
        scalars = {
            'train/codeword_perplexity': health.perplexity,
            'train/assignment_entropy': health.assignment_entropy,
            'train/codeword_distance': health.smallest_distance,
        }
        # The log is JSON, which has no infinity.
        scalars = {name: value for name, value in scalars.items() if math.isfinite(value)}
        runner.message_hub.update_scalars(scalars)
        shares = {
            f'codeword_share/{k:02d}': share for k, share in enumerate(health.shares.tolist())
        }
        runner.visualizer.add_scalars(shares, step=runner.iter + 1)

        bound = self.dead_below / len(shares)
        dead = {k for k, share in enumerate(health.shares.tolist()) if share < bound}
        died = sorted(dead - self._dead)
        if died:
            runner.logger.warning(
                f'{len(dead)} of {len(shares)} codewords are dead, with a share below {bound:.2g} '
                f'of the pixels; new since the last measurement: {", ".join(map(str, died))}.'
            )
        self._dead = dead

    def _keep_features(self, _, inputs: tuple[Tensor]) -> None:
        self._features = inputs[0].detach()
