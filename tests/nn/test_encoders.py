"""Every encoder against its formula, with gradients, and inside the head."""

from __future__ import annotations

import encoder_formulas
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_encnet.nn import Clusters, DictionaryEncoder
from mmseg_encnet.ops import aggregate, assign, encode, mixture_assign

FORMULAS = {
    'Encoding': encoder_formulas.encoding,
    'EncodingDropout': encoder_formulas.encoding_dropout,
    'BagOfWords': encoder_formulas.bag_of_words,
    'VLAD': encoder_formulas.vlad,
    'FisherVector': encoder_formulas.fisher_vector,
    'GlobalAverage': encoder_formulas.global_average,
}
DICTIONARIES = [name for name in FORMULAS if name != 'GlobalAverage']


def build(name: str, channels: int = 6, num_codes: int = 3, **kwargs):
    torch.manual_seed(0)
    if name != 'GlobalAverage':
        kwargs['num_codes'] = num_codes
    encoder = MODELS.build(dict(type=name, channels=channels, **kwargs))
    for parameter in encoder.parameters():
        # Away from the symmetric initial values, with which errors would cancel.
        parameter.data += 0.3 * torch.randn_like(parameter)
    return encoder.double().eval()


def features(batch: int = 2, channels: int = 6, size: tuple[int, ...] = (3, 4)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    return x.relu()


@pytest.mark.parametrize('offset', [0, 10])
@pytest.mark.parametrize('name', FORMULAS)
def test_equals_its_formula(name: str, offset: float) -> None:
    encoder, x = build(name), features() + offset
    with torch.no_grad():
        if hasattr(encoder, 'codewords'):
            encoder.codewords += offset
        statistics = encoder(x)
        expected = torch.stack(
            [FORMULAS[name](image.flatten(1), *encoder.state_dict().values()) for image in x]
        )
    torch.testing.assert_close(statistics, expected, rtol=1e-9, atol=1e-9)
    rows = 1 if statistics.dim() == 2 else statistics.shape[1]
    assert rows == encoder.num_descriptors


@pytest.mark.parametrize('name', FORMULAS)
def test_gradients(name: str) -> None:
    encoder = build(name, channels=4, num_codes=2)
    names = [name for name, _ in encoder.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in encoder.parameters()]

    def run(x, *values):
        return torch.func.functional_call(encoder, dict(zip(names, values)), (x,))

    x = features(channels=4, size=(2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize('name', DICTIONARIES)
def test_assigns_every_position_to_its_codewords(name: str) -> None:
    encoder, x = build(name), features()
    weights = encoder.assign(x)
    assert weights.shape == (2, 3, 3, 4)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3, 4, dtype=torch.float64))
    torch.testing.assert_close(encoder.assign(x.flatten(2)), weights.flatten(2))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', FORMULAS)
def test_half_precision_features_of_large_norm(name: str, dtype: torch.dtype) -> None:
    encoder = build(name, channels=16).float()
    x = (1000 * features(channels=16)).to(dtype)
    assert x.float().norm(dim=1).max() > 1e3
    with torch.autocast('cpu', dtype):
        assert encoder(x).isfinite().all()


@pytest.mark.parametrize('size', [(1, 1), (1, 5)])
@pytest.mark.parametrize('name', FORMULAS)
def test_single_positions_and_rows(name: str, size: tuple[int, int]) -> None:
    statistics = build(name)(features(size=size).requires_grad_())
    assert statistics.isfinite().all()
    statistics.sum().backward()


@pytest.mark.parametrize('name', FORMULAS)
def test_trains_in_the_head(name: str) -> None:
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='EncodingHead',
            in_channels=[8],
            in_index=[0],
            channels=8,
            num_classes=3,
            num_codes=4 if name in DICTIONARIES else None,
            encoder=dict(type=name),
            norm_cfg=dict(type='BN'),
            dropout_ratio=0,
        )
    )
    head.init_weights()
    x = torch.randn(2, 8, 6, 6)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 6, 6))))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    losses = []
    for _ in range(12):
        parts = head.loss([x], [sample, sample], None)
        loss = parts['loss_ce'] + parts['loss_se']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    # The norm over the codes has one scale for each row of the statistics.
    assert len(head.enc_module.encoding[1].weight) == head.enc_module.encoding[0].num_descriptors
    assert isinstance(head.enc_module.encoding[0], DictionaryEncoder) == (name != 'GlobalAverage')
    assert (head.assign(x) is None) == (name == 'GlobalAverage')


def test_dropout_draws_the_factors_in_training_alone() -> None:
    encoder, x = build('EncodingDropout'), features()
    torch.testing.assert_close(encoder(x), encoder(x), rtol=0, atol=0)
    encoder.train()
    assert not torch.equal(encoder(x), encoder(x))


def test_vlad_starts_as_the_encoding_of_one_smoothing_factor() -> None:
    torch.manual_seed(0)
    encoder = MODELS.build(dict(type='VLAD', channels=6, num_codes=3, sharpness=0.7)).double()
    expected = assign(features(), encoder.codewords, torch.full((3,), -0.7).double())
    torch.testing.assert_close(encoder.assign(features()).flatten(2), expected)


def test_encoding_starts_with_scaled_factors() -> None:
    torch.manual_seed(0)
    published = MODELS.build(dict(type='Encoding', channels=8, num_codes=5))
    torch.manual_seed(0)
    scaled = MODELS.build(dict(type='Encoding', channels=8, num_codes=5, scaled_smoothing=True))
    torch.testing.assert_close(scaled.scale, published.scale / 8)
    torch.testing.assert_close(scaled.codewords, published.codewords)


@pytest.mark.parametrize('name', DICTIONARIES)
def test_takes_clusters_as_its_dictionary(name: str) -> None:
    """With two blobs, every feature is assigned to the codeword of its blob."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0, 0, 0], [0, 0, 4, 0]])
    blobs = torch.arange(40) % 2
    x = centres[blobs] + 0.3 * torch.randn(40, 4, generator=generator)
    variances = torch.stack([x[blobs == k].var(dim=0) for k in range(2)])
    encoder = MODELS.build(dict(type=name, channels=4, num_codes=2))
    encoder.set_clusters(Clusters(centres, variances, torch.tensor([0.5, 0.5])))
    torch.testing.assert_close(encoder.codewords.data, centres)
    weights = encoder.assign(x.T[None])[0]
    assert torch.equal(weights.argmax(dim=0), blobs)
    assert weights.amax(dim=0).min() > 0.9


def test_aggregate_is_the_sum_of_the_encoding() -> None:
    x = features()
    codewords = torch.randn(3, 6, dtype=torch.float64)
    scale = torch.tensor([-0.1, -0.2, -0.3], dtype=torch.float64)
    weights = assign(x, codewords, scale)
    torch.testing.assert_close(aggregate(x, weights, codewords), encode(x, codewords, scale))
    with pytest.raises(ValueError, match=r'weights of shape \(2, 2, 12\).*expected \(2, 3, 12\)'):
        aggregate(x, weights[:, :2], codewords)


def test_mixture_of_equal_deviations_is_the_soft_assignment() -> None:
    x, means = features(), torch.randn(3, 6, dtype=torch.float64)
    deviations = torch.full_like(means, 2.0)
    expected = assign(x, means, torch.full((3,), -1 / 8, dtype=torch.float64))
    torch.testing.assert_close(mixture_assign(x, means, deviations, torch.zeros(3)), expected)
