"""Literal implementations of the encoders' formulas: loops over images, positions, codewords."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def softly(logits: list[Tensor]) -> Tensor:
    return torch.softmax(torch.stack(logits), dim=0)


def encoding(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    e = torch.zeros_like(codewords)
    for x_i in x.T:
        a_i = softly([s * (x_i - d).square().sum() for s, d in zip(scale, codewords)])
        e = e + torch.stack([a * (x_i - d) for a, d in zip(a_i, codewords)])
    return e


def encoding_dropout(x: Tensor, codewords: Tensor, mean_scale: Tensor) -> Tensor:
    return encoding(x, codewords, mean_scale)


def bag_of_words(x: Tensor, codewords: Tensor, scale: Tensor, embedding: Tensor) -> Tensor:
    counts = torch.zeros_like(scale)
    for x_i in x.T:
        counts = counts + softly([s * (x_i - d).square().sum() for s, d in zip(scale, codewords)])
    return embedding @ (counts / x.shape[1])


def vlad(x: Tensor, codewords: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    e = torch.zeros_like(codewords)
    for x_i in x.T:
        a_i = softly([w @ x_i + b for w, b in zip(weight, bias)])
        e = e + torch.stack([a * (x_i - d) for a, d in zip(a_i, codewords)])
    e = torch.stack([e_k / e_k.norm() for e_k in e])
    return e / e.norm()


def fisher_vector(x: Tensor, means: Tensor, log_deviations: Tensor, prior_logits: Tensor) -> Tensor:
    deviations, priors = log_deviations.exp(), prior_logits.softmax(dim=0)
    u, v = torch.zeros_like(means), torch.zeros_like(means)
    for x_i in x.T:
        components = [torch.distributions.Normal(m, s) for m, s in zip(means, deviations)]
        g_i = softly([p.log() + c.log_prob(x_i).sum() for p, c in zip(priors, components)])
        z = [(x_i - m) / s for m, s in zip(means, deviations)]
        u = u + torch.stack([g * z_k for g, z_k in zip(g_i, z)])
        v = v + torch.stack([g * (z_k**2 - 1) for g, z_k in zip(g_i, z)])
    n = x.shape[1]
    return torch.cat(
        [u / (n * priors[:, None].sqrt()), v / (n * math.sqrt(2) * priors[:, None].sqrt())]
    )


def global_average(x: Tensor) -> Tensor:
    return sum(x.T) / x.shape[1]
