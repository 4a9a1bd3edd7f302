"""Converted weights give the outputs of PyTorch-Encoding's own code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmseg_encnet import EncNet, MultiEvalModule, get_encnet
from mmseg_encnet.checkpoints import convert_state_dict

# Outputs, and `rule.py`, which derives weights and images from names and sizes.
PARITY = Path(__file__).resolve().parents[3] / 'shared' / 'parity'
GOLDEN = PARITY / 'pte_encnet_resnet50s_pcontext.npz'

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_file(), reason=f'no outputs of PyTorch-Encoding at {GOLDEN}'
)


@pytest.fixture(scope='module')
def rule():
    sys.path.insert(0, str(PARITY))
    try:
        import rule
    finally:
        sys.path.remove(str(PARITY))
    return rule


@pytest.fixture(scope='module')
def golden() -> dict:
    with np.load(GOLDEN) as content:
        return dict(content, meta=json.loads(str(content['meta'])))


@pytest.fixture(scope='module')
def model(golden, rule, tmp_path_factory) -> EncNet:
    meta = golden['meta']
    source = {
        key: torch.from_numpy(np.asarray(rule.tensor_for(key, tuple(shape))))
        for key, shape in meta['shapes'].items()
    }
    assert convert_state_dict(source).used.keys() == source.keys()
    path = tmp_path_factory.mktemp('parity') / 'original.pth'
    torch.save(source, path)
    return get_encnet(
        'pcontext',
        'resnet50s',
        pretrained=path,
        base_size=meta['base_size'],
        crop_size=meta['crop_size'],
    )


@torch.no_grad()
def test_one_forward_pass(model, golden, rule):
    meta = golden['meta']
    logits, se, aux = model(torch.from_numpy(rule.image_for(meta['seed'], *meta['size'])))
    found = dict(logits=logits[..., ::4, ::4], se=se, aux=aux[..., ::4, ::4])
    for name, value in found.items():
        expected = torch.from_numpy(golden[name])
        assert (value - expected).abs().max() <= 1e-4, name


def test_the_published_evaluation(model, golden, rule):
    meta = golden['meta']
    evaluator = MultiEvalModule(model, model.nclass, scales=meta['scales'])
    score = evaluator(torch.from_numpy(rule.image_for(meta['seed'] + 1, *meta['ms'])))
    labels = score.argmax(dim=1).numpy()
    assert (labels == golden['ms_argmax']).mean() >= 0.999
    probability = (score / score.sum(dim=1, keepdim=True))[..., ::8, ::8].numpy()
    assert np.abs(probability - golden['ms_prob']).max() <= 1e-3
