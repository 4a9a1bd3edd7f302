"""The Context Encoding Module against its formulas, with gradients, in all variants."""

from __future__ import annotations

import encoder_formulas
import pytest
import torch
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import ContextEncoding, SemanticsEncoding

CHANNELS, CODES = 6, 3
KEYS = [
    'encoding_project.conv.weight',
    *(
        f'encoding_project.bn.{entry}'
        for entry in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    ),
    'encoding.0.codewords',
    'encoding.0.scale',
    *(
        f'encoding.1.{entry}'
        for entry in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    ),
    'fc.0.weight',
    'fc.0.bias',
]
VARIANTS = [(reduction, gate) for reduction in ('mean', 'sum') for gate in ('residual', 'scale')]


def build(kind: type = ContextEncoding, **kwargs) -> ContextEncoding:
    torch.manual_seed(0)
    module = kind(CHANNELS, CODES, **kwargs).double().eval()
    for key, value in module.state_dict().items():
        if 'running' in key or '.bn.' in key or key.startswith('encoding.1.'):
            # Norms with non-trivial statistics; variances stay positive.
            value.add_(torch.rand(value.shape) if value.is_floating_point() else 0)
    return module


def formula(x: Tensor, state: dict[str, Tensor], reduction: str, gate: str) -> tuple[Tensor, ...]:
    """Return features, vector and gate of images ``(B, C, H, W)`` in evaluation mode."""

    def norm(value: Tensor, name: str, axis: int) -> Tensor:
        shape = [-1 if dim == axis else 1 for dim in range(value.dim())]
        weight, bias, mean, variance = (
            state[f'{name}.{entry}'].view(shape)
            for entry in ('weight', 'bias', 'running_mean', 'running_var')
        )
        return (value - mean) / (variance + 1e-5).sqrt() * weight + bias

    matrix = state['encoding_project.conv.weight'][:, :, 0, 0]
    projected = torch.einsum('dc,bchw->bdhw', matrix, x)
    projected = norm(projected, 'encoding_project.bn', 1).clamp(min=0)
    encoded = torch.stack(
        [
            encoder_formulas.encoding(
                image.flatten(1), state['encoding.0.codewords'], state['encoding.0.scale']
            )
            for image in projected
        ]
    )
    encoded = norm(encoded, 'encoding.1', 1).clamp(min=0)
    vector = sum(encoded[:, k] for k in range(CODES))
    if reduction == 'mean':
        vector = vector / CODES
    gamma = 1 / (1 + (-(vector @ state['fc.0.weight'].T + state['fc.0.bias'])).exp())
    scaled = x * gamma[:, :, None, None]
    features = scaled if gate == 'scale' else (x + scaled).clamp(min=0)
    return features, vector, gamma


@pytest.mark.parametrize('reduction, gate', VARIANTS)
def test_equals_the_formula_with_gradients(reduction: str, gate: str) -> None:
    module = build(reduction=reduction, gate=gate)
    generator = torch.Generator().manual_seed(1)
    # Negative features too: after other activations than ReLU the variants differ there.
    inputs = torch.randn(2, CHANNELS, 3, 4, generator=generator, dtype=torch.float64)
    state = dict(module.named_parameters()) | dict(module.named_buffers())

    def literal(x: Tensor) -> tuple[Tensor, ...]:
        return formula(x, state, reduction, gate)

    results = []
    for compute in (module, literal):
        module.zero_grad()
        x = inputs.clone().requires_grad_()
        outputs = compute(x)[:3]
        sum((output * output.detach().cos()).sum() for output in outputs).backward()
        grads = [parameter.grad.clone() for parameter in module.parameters()]
        results.append([*outputs, x.grad, *grads])
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_defaults_are_the_released_code_bit_for_bit() -> None:
    x = torch.rand(2, CHANNELS, 3, 4, dtype=torch.float64)
    plain, named = build(), build(reduction='mean', gate='residual')
    for ours, expected in zip(plain(x), named(x)):
        assert torch.equal(ours, expected)
    gate = plain(x).gate[:, :, None, None]
    assert torch.equal(plain(x).features, torch.relu(x + x * gate))


@pytest.mark.parametrize('reduction, gate', VARIANTS)
def test_the_variants_share_their_state_dict(reduction: str, gate: str) -> None:
    assert list(build(reduction=reduction, gate=gate).state_dict()) == KEYS


@pytest.mark.parametrize('gate', ['residual', 'scale'])
def test_channel_factors_are_the_gate_on_positive_features(gate: str) -> None:
    module, x = build(gate=gate), torch.rand(2, CHANNELS, 3, 4, dtype=torch.float64)
    encoded = module(x)
    factors = module.channel_factors(encoded.gate)[:, :, None, None]
    torch.testing.assert_close(x * factors, encoded.features)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_semantics_are_the_module_without_gate(reduction: str) -> None:
    whole, part = build(reduction=reduction), build(SemanticsEncoding, reduction=reduction)
    assert list(part.state_dict()) == [key for key in KEYS if not key.startswith('fc.')]
    part.load_state_dict(whole.state_dict(), strict=False)
    x = torch.rand(2, CHANNELS, 3, 4, dtype=torch.float64)
    assert torch.equal(part(x), whole(x).vector)


def test_unknown_variants_are_named() -> None:
    with pytest.raises(UserError, match="unknown reduction 'max'; choose one of mean, sum"):
        ContextEncoding(4, reduction='max')
    with pytest.raises(UserError, match="unknown gate 'add'; choose one of residual, scale"):
        ContextEncoding(4, gate='add')
