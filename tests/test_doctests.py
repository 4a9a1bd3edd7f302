"""The examples in the docstrings of the public API run unchanged."""

from __future__ import annotations

import doctest
import importlib

import pytest

DOCUMENTED = [
    'ops.encode.dispatch',
    'nn.bag_of_words',
    'nn.context_encoding',
    'nn.encoding',
    'nn.encoding_dropout',
    'nn.fisher_vector',
    'nn.global_average',
    'nn.vlad',
    'models.decode_heads.encoding_head',
    'hub.encnet',
    'hub.multi_eval',
    'hub.zoo',
]


@pytest.mark.parametrize('name', DOCUMENTED)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(f'mmseg_encnet.{name}'))
    assert results.attempted and not results.failed
