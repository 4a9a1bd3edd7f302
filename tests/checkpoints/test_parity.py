"""Outputs of PyTorch-Encoding's own code, against the same weights converted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.models import BaseSegmentor
from torch import Tensor

from mmseg_encnet.checkpoints import convert_state_dict
from mmseg_encnet.checkpoints.architecture import build
from mmseg_encnet.models import PublishedTTAModel

# Outputs, and `rule.py`, by which the weights and images follow from names and sizes.
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
def model(golden, rule) -> BaseSegmentor:
    source = {
        key: torch.from_numpy(np.asarray(rule.tensor_for(key, tuple(shape))))
        for key, shape in golden['meta']['shapes'].items()
    }
    conversion = convert_state_dict(source)
    assert conversion.used.keys() == source.keys()
    model = build(conversion.architecture.model_config())
    model.load_state_dict(conversion.state_dict, strict=True)
    return model.eval()


def sampled(logits: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(logits, size, mode='bilinear', align_corners=True)[..., ::4, ::4]


@torch.no_grad()
def test_one_forward_pass(model, golden, rule):
    meta = golden['meta']
    features = model.extract_feat(torch.from_numpy(rule.image_for(meta['seed'], *meta['size'])))
    output = model.decode_head.forward_context(features)
    found = dict(
        logits=sampled(output.seg_logits, meta['size']),
        se=output.se_logits,
        aux=sampled(model.auxiliary_head(features), meta['size']),
    )
    for name, value in found.items():
        expected = torch.from_numpy(golden[name])
        assert (value - expected).abs().max() <= 1e-4 * expected.abs().max(), name


@torch.no_grad()
def test_the_published_evaluation(model, golden, rule):
    meta = golden['meta']
    evaluator = PublishedTTAModel(model, base_size=meta['base_size'], scales=meta['scales'])
    assert model.test_cfg.crop_size == (meta['crop_size'],) * 2
    score = evaluator.score(torch.from_numpy(rule.image_for(meta['seed'] + 1, *meta['ms'])))
    labels = score.argmax(dim=1).numpy()
    assert (labels == golden['ms_argmax']).mean() >= 0.999
    probability = (score / score.sum(dim=1, keepdim=True))[..., ::8, ::8].numpy()
    assert np.abs(probability - golden['ms_prob']).max() <= 1e-3
