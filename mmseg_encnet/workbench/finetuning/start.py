"""Choose a shipped network for the user's classes and adapt its classifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.shipped_weights import load_shipped_weights, shipped_networks

DEFAULT = 'encnet_lite0_msrc21'
_PER_CLASS = re.compile(r'(conv_seg|se_layer)\.(weight|bias)')


def nearest_start(classes: Sequence[str]) -> str:
    """Return the name of the shipped network that has most of the classes.

    Every data set can have a background, so this class does not count.
    """
    wanted = set(map(str.lower, classes)) - {'background'}

    def shared(name: str) -> tuple[int, bool]:
        _, meta = load_shipped_weights(name)
        return len(wanted & set(meta['classes'])), name == DEFAULT

    return max(shipped_networks(), key=shared)


def adapt_start(name: str, classes: Sequence[str]) -> dict[str, Tensor]:
    """Return a shipped network's weights with classifiers for other classes.

    Classes with the name of one of the network's classes keep its weights. The others start as the
    toolbox initialises classifiers, from a fixed seed.
    """
    state_dict, meta = load_shipped_weights(name)
    index = {known: position for position, known in enumerate(meta['classes'])}
    generator = torch.Generator().manual_seed(0)
    for key, value in state_dict.items():
        if not _PER_CLASS.search(key):
            continue
        adapted = torch.zeros(len(classes), *value.shape[1:])
        if key.endswith('weight'):
            adapted.normal_(0, 0.01, generator=generator)
        for position, wanted in enumerate(map(str.lower, classes)):
            if wanted in index:
                adapted[position] = value[index[wanted]]
        state_dict[key] = adapted
    return state_dict
