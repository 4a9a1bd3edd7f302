"""A dictionary from data in place of a random one."""

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
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import Clusters, DictionaryEncoder


@HOOKS.register_module()
class CodebookInitHook(Hook):
    """Sets codewords and smoothing factors from clusters of features, before the first iteration.

    As the dictionaries of classic encoders were made (k-means over local descriptors), here over
    the features that the network has at its start: training images go through the whole pipeline
    and the network in training mode, pixels are drawn from what reaches the encoder, and clustered.
    Parameters other than the dictionary, running statistics and all random states are left as they
    were, so a training with this hook sees the same crops as one without it. A resumed training
    keeps the dictionary of its checkpoint.

    The result depends on the seed alone. In a distributed training every process gathers the same
    features (synchronised norms wait for each other), and all take the clusters of the first.

    Args:
        num_images: Images that features are gathered from.
        pixels_per_image: Pixels drawn from each image; all, where it has fewer.

    Raises:
        UserError: If the model has no dictionary, the features are fewer than the codewords, or
            scikit-learn is not installed.
    """

    def __init__(self, num_images: int = 64, pixels_per_image: int = 256) -> None:
        self.num_images = num_images
        self.pixels_per_image = pixels_per_image

    def before_train(self, runner) -> None:
        if runner.iter > 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
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
            f'{encoder.num_codes} codewords from {len(features)} features of {self.num_images} '
            f'images; the largest cluster holds {clusters.shares.max():.1%} of them.'
        )

    def _gather(self, model: nn.Module, encoder: nn.Module, dataloader) -> Tensor:
        """Features ``(n, C)`` of pixels of random training images."""
        dataset, batch_size = dataloader.dataset, dataloader.batch_size
        indices = torch.randperm(len(dataset))[: self.num_images].tolist()
        pixels: list[Tensor] = []

        def draw(_, inputs: tuple[Tensor]) -> None:
            for image in inputs[0].flatten(2):
                chosen = torch.randperm(image.shape[1])[: self.pixels_per_image]
                pixels.append(image.T[chosen.to(image.device)].float().cpu())

        # The last batch is filled up: statistics of a batch of one are no statistics.
        count = math.ceil(len(indices) / batch_size) * batch_size
        filled = list(islice(cycle(indices), count))
        handle = encoder.register_forward_pre_hook(draw)
        try:
            for start in range(0, len(filled), batch_size):
                batch = dataloader.collate_fn(
                    [dataset[index] for index in filled[start : start + batch_size]]
                )
                model(**model.data_preprocessor(batch, training=True), mode='tensor')
        finally:
            handle.remove()
        return torch.cat(pixels[: len(indices)])


def find_dictionary(model: nn.Module, asker: str) -> DictionaryEncoder:
    """The dictionary encoder of a segmentor.

    Args:
        model: The segmentor.
        asker: Who needs it, for the message.

    Raises:
        UserError: If it has none.
    """
    encoders = [m for m in model.modules() if isinstance(m, DictionaryEncoder)]
    if not encoders:
        raise UserError(
            f'{asker} came, but no part of the model has codewords; use an '
            'EncodingHead with a dictionary encoder, or remove the hook.'
        )
    return encoders[0]


def cluster(features: Tensor, num_clusters: int, seed: int) -> Clusters:
    """Cluster features by k-means.

    Args:
        features: ``(n, C)``.
        num_clusters: K.
        seed: Seed of the centres' start and of the order of the features.

    Raises:
        UserError: If there are fewer features than clusters, or scikit-learn is not installed.
    """
    if len(features) < num_clusters:
        raise UserError(
            f'{len(features)} features were gathered for {num_clusters} codewords; '
            'raise num_images or pixels_per_image of CodebookInitHook.'
        )
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise UserError(
            'CodebookInitHook clusters with scikit-learn, which is not installed; '
            'run pip install scikit-learn.'
        ) from error
    kmeans = MiniBatchKMeans(num_clusters, random_state=seed, n_init=3).fit(features.numpy())
    labels = torch.from_numpy(kmeans.labels_).long()
    counts = torch.bincount(labels, minlength=num_clusters)
    centres = torch.from_numpy(kmeans.cluster_centers_).to(features)
    variances = (
        torch.zeros_like(centres).index_add_(0, labels, (features - centres[labels]).square())
        / counts.clamp(min=1)[:, None]
    )
    # A cluster of one feature, or a channel that never fires, has no variance to speak of.
    floor = 1e-3 * variances.mean() + torch.finfo(variances.dtype).tiny
    shares = (counts.clamp(min=1) / counts.clamp(min=1).sum()).to(features)
    return Clusters(centres, variances.clamp(min=floor), shares)


@contextmanager
def _undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Run the network in training mode with random states of its own, and leave no trace."""
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    states = random.getstate(), np.random.get_state()
    training = model.training
    try:
        with torch.random.fork_rng(), torch.no_grad():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            model.train()
            yield
    finally:
        model.train(training)
        random.setstate(states[0])
        np.random.set_state(states[1])
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
