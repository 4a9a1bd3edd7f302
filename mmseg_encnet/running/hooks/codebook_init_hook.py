"""Initialise a dictionary from data instead of at random."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import numpy as np
import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.nn import Clusters, DictionaryEncoder
from mmseg_encnet.resuming.random_states import states_kept


@HOOKS.register_module()
class CodebookInitHook(Hook):
    """Sets codewords and smoothing factors from clusters of features, before the first iteration.

    Classic encoders made their dictionaries this way (k-means over local descriptors); here it is
    applied to the features of the initial network: training images pass the whole pipeline and the
    network in training mode, and pixels sampled from the input of the encoder are clustered. Other
    parameters, running statistics and all random states stay unchanged, so a run with this hook
    sees the same crops as one without it. A resumed run keeps the dictionary of its checkpoint.

    The result depends on the seed alone. In distributed training every process gathers the same
    features (synchronised norms wait for each other), and all use the clusters of the first.

    Args:
        num_images: Number of images to gather features from.
        pixels_per_image: Number of pixels to sample from each image, or all if it has fewer.

    Raises:
        UserError: The model has no dictionary, there are fewer features than codewords, or
            scikit-learn is not installed.
    """

    def __init__(self, num_images: int = 64, pixels_per_image: int = 256) -> None:
        self.num_images = num_images
        self.pixels_per_image = pixels_per_image

    def before_train(self, runner) -> None:
        if runner.iter > 0:
            return
        model = unwrapped(runner.model)
        encoder = find_dictionary(model, type(self).__name__)
        seed = runner.seed
        with _undisturbed(model, seed):
            features = self._gather(model, encoder, runner.train_dataloader)
        clusters = cluster(features, encoder.num_codes, seed)
        clusters = Clusters(*(part.to(encoder.codewords) for part in clusters))
        for part in clusters:
            broadcast(part)
        encoder.set_clusters(clusters)
        runner.logger.info(
            f'initialised {encoder.num_codes} codewords from {len(features)} features of '
            f'{self.num_images} images; the largest cluster holds {clusters.shares.max():.1%} of '
            'the features.'
        )

    def _gather(self, model: nn.Module, encoder: nn.Module, dataloader) -> Tensor:
        """Return features ``(n, C)`` of random pixels of random training images."""
        dataset, batch_size = dataloader.dataset, dataloader.batch_size
        # A plain forward pass does not reach auxiliary heads.
        within = any(module is encoder for module in model.decode_head.modules())
        mode = 'tensor' if within else 'loss'
        indices = torch.randperm(len(dataset))[: self.num_images].tolist()
        pixels: list[Tensor] = []

        def draw(_, inputs: tuple[Tensor]) -> None:
            for image in inputs[0].flatten(2):
                chosen = torch.randperm(image.shape[1])[: self.pixels_per_image]
                pixels.append(image.T[chosen.to(image.device)].float().cpu())

        # Fill the last batch: batch norm cannot normalise over a single image.
        count = math.ceil(len(indices) / batch_size) * batch_size
        filled = list(islice(cycle(indices), count))
        handle = encoder.register_forward_pre_hook(draw)
        try:
            for start in range(0, len(filled), batch_size):
                batch = dataloader.collate_fn(
                    [dataset[index] for index in filled[start : start + batch_size]]
                )
                model(**model.data_preprocessor(batch, training=True), mode=mode)
        finally:
            handle.remove()
        return torch.cat(pixels[: len(indices)])


def find_dictionary(model: nn.Module, asker: str) -> DictionaryEncoder:
    """Return the dictionary encoder of a segmentor.

    Args:
        model: The segmentor.
        asker: Name of the hook that needs it, for the error message.

    Raises:
        UserError: The model has no dictionary encoder.
    """
    encoders = [m for m in model.modules() if isinstance(m, DictionaryEncoder)]
    if not encoders:
        raise UserError(
            f'got {asker}, but no part of the model has codewords; use an EncodingHead or '
            'a PresenceHead with a dictionary encoder, or remove the hook.'
        )
    return encoders[0]


def cluster(features: Tensor, num_clusters: int, seed: int) -> Clusters:
    """Cluster features by k-means.

    Args:
        features: ``(n, C)``.
        num_clusters: K.
        seed: Seed of the initial centres and of the order of the features.

    Raises:
        UserError: There are fewer features than clusters, or scikit-learn is not installed.
    """
    if len(features) < num_clusters:
        raise UserError(
            f'got {len(features)} features for {num_clusters} codewords; '
            'increase num_images or pixels_per_image of CodebookInitHook.'
        )
    kmeans = (
        require('sklearn.cluster', 'analysis')
        .MiniBatchKMeans(num_clusters, random_state=seed, n_init=3)
        .fit(features.numpy())
    )
    labels = torch.from_numpy(kmeans.labels_).long()
    counts = torch.bincount(labels, minlength=num_clusters)
    centres = torch.from_numpy(kmeans.cluster_centers_).to(features)
    variances = (
        torch.zeros_like(centres).index_add_(0, labels, (features - centres[labels]).square())
        / counts.clamp(min=1)[:, None]
    )
    # Clusters of one feature and channels that never fire have a variance of zero.
    floor = 1e-3 * variances.mean() + torch.finfo(variances.dtype).tiny
    shares = (counts.clamp(min=1) / counts.clamp(min=1).sum()).to(features)
    return Clusters(centres, variances.clamp(min=floor), shares)


@contextmanager
def _undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Seed and use the network in training mode, then restore its buffers and random states."""
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    training = model.training
    try:
        with states_kept(), torch.no_grad():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            model.train()
            yield
    finally:
        model.train(training)
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
