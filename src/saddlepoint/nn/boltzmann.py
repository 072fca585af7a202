"""Boltzmann machines of 0/1 units in two groups, s and a, that are joined to one another and not within:

    p(s, a) = exp(a'W s + b's + c'a) / Z         p*(s) = exp(b's) prod_j (1 + exp(c_j + W_j s))

A restricted Boltzmann machine is one: s are the visible units, a the hidden ones. A deep one of two hidden layers is
one, too: s is the first hidden layer, a the visible units and the second hidden layer, for neither is joined to itself
or to the other. So the free energy, Gibbs steps and annealed importance sampling are written once, here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, at_least_float32
from saddlepoint.nn.layers import affine
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.dispatch import kernels

States = Float[Tensor, "batch first"]
"""Units of the group s: 0 or 1, or probabilities."""

Others = Float[Tensor, "batch second"]
"""Units of the group a."""


class Bipartite(nn.Module):
    """A Boltzmann machine of two groups of units.

    Args:
        first: units of s.
        second: units of a.
    """

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(second, first))
        self.first_bias, self.second_bias = nn.Parameter(torch.zeros(first)), nn.Parameter(torch.zeros(second))

    def second_logits(self, s: States) -> Others:
        """Return the logits of p(a = 1 | s), which are independent: W s + c."""
        return at_least_float32(affine(s, self.weight, self.second_bias))

    def first_logits(self, a: Others) -> States:
        """Return the logits of p(s = 1 | a), which are independent: W'a + b. No autograd where kernels compute it."""
        return backwards(a, self.weight, self.first_bias)

    def free_energy(self, s: States) -> PerSample:
        """Return F(s) = -log sum_a exp(a'W s + b's + c'a), so that p(s) = exp(-F(s)) / Z."""
        return -in_full(s, self.first_bias) - F.softplus(self.second_logits(s)).sum(1)

    @torch.no_grad()
    def gibbs(self, s: States, steps: int, generator: torch.Generator, shift: Tensor | None = None) -> States:
        """Draw a given s and s given a, ``steps`` times; the last s, 0 or 1. For a shift see `draw`."""
        for _ in range(steps):
            a = draw(self.second_logits(s), generator, shift)
            s = draw(self.first_logits(a), generator, shift)
        return s


def backwards(a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a W + b for weights (inputs of the way there: second, first); not differentiable by the kernels."""
    if kernels(a, weight) is None:
        return at_least_float32(torch.addmm(bias, a, weight))
    size, after = (len(a), weight.shape[1]), native.After(bias=bias)
    return at_least_float32(native.input_gradient(a, size, weight, native.POINTWISE, after))


def in_full(rows: Tensor, bias: Tensor) -> PerSample:
    """Return the products of rows with a bias, in the bias's own precision whatever that around: (batch,)."""
    # Energies are hundreds of nats, and a step goes by their differences.
    with torch.autocast(rows.device.type, enabled=False):
        return rows.to(bias.dtype) @ bias


def draw(logits: Tensor, generator: torch.Generator, shift: Tensor | None = None) -> Tensor:
    """Return 1 with probability sigmoid(logits), else 0.

    Args:
        logits: (batch, units).
        generator: of uniform numbers.
        shift: added to each row's uniform numbers, modulo 1, (batch, 1): they stay uniform, but rows of other shifts
            are drawn otherwise from the same generator.
    """
    return draw_probability(torch.sigmoid(logits), generator, shift)


def draw_probability(p: Tensor, generator: torch.Generator, shift: Tensor | None = None) -> Tensor:
    """Return 1 with probability ``p``, else 0; see `draw`."""
    # u is in [0, 1): p = 0 never gives a 1, p = 1 always.
    u = torch.rand(p.shape, generator=generator, device=generator.device).to(p.device)
    return ((u if shift is None else (u + shift).frac()) < p).to(p.dtype)


@dataclass(frozen=True)
class Parameters:
    """W, b and c as a loss takes them; `centred` gives those whose gradient is the centred one."""

    weight: Tensor
    first_bias: Tensor
    second_bias: Tensor


def centred(machine: Bipartite, first_mean: Tensor, second_mean: Tensor) -> Parameters:
    """Return a machine's own parameters, with the gradient that they have where units are taken minus their means.

    With E = -(a - m_a)'W (s - m_s) - ..., the gradient of W no longer holds that of the biases, which makes a machine
    of many layers trainable without pretraining. Source: Montavon and Müller 2012, and Melchior et al. 2016,
    algorithm 1: the same steps in parameters that are not centred, so that means may move without changing the model.

    Args:
        machine: whose parameters.
        first_mean: m_s, (first,), in [0, 1].
        second_mean: m_a, (second,), in [0, 1].
    """
    given = (machine.weight, machine.first_bias, machine.second_bias)
    return Parameters(*_Centred.apply(*given, first_mean, second_mean))


class _Centred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, b: Tensor, c: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(first.clone(), second.clone())  # as they are now: a loss moves them
        return weight.view_as(weight), b.view_as(b), c.view_as(c)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        of_weight, of_b, of_c = along
        first, second = ctx.saved_tensors
        # <(a - m_a)(s - m_s)'> between data and model: the terms without a mean cancel.
        of_weight = of_weight.addmm(torch.stack([of_c, second], 1), torch.stack([first, of_b]), alpha=-1)
        # b = b~ - W'm_a and c = c~ - W m_s: a step of W moves the biases that are not centred, too.
        return of_weight, of_b - second @ of_weight, of_c - of_weight @ first, None, None


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z.

    Attributes:
        value: in nats; exp of it has the mean Z.
        error: standard error, by the spread of the runs; too small where none of them found a part of the weight.
    """

    value: float
    error: float


@torch.no_grad()
def annealed_log_partition(
    machine: Bipartite, first_base: Tensor, second_base: Tensor, distributions: int, runs: int,
    generator: torch.Generator,
) -> LogPartition:  # fmt: skip
    """Estimate log Z by annealed importance sampling from a machine of the same units without weights.

    Between the two lie machines whose parameters are mixed: (1 - beta) of the base's, beta of this one's. Each run
    starts from a draw of the base and makes a Gibbs step at each; the product of the ratios p*_k+1 / p*_k on its way
    has the mean Z / Z_base. Source: Neal 2001; Salakhutdinov and Murray 2008, section 4. Deviation: one machine whose
    hidden units change their biases, where theirs had hidden units for each end.

    Args:
        machine: whose Z.
        first_base: biases of s in the base, (first,).
        second_base: biases of a in the base, (second,).
        distributions: how many, the base left out.
        runs: independent of one another.
        generator: of all randomness, on the machine's device.
    """
    s = draw(first_base.expand(runs, -1), generator)  # (runs, first)
    # In double, where the machine is; of MPS, which has none, on the CPU: it then waits at every distribution.
    place = s.device if s.device.type in ("cpu", "cuda") else torch.device("cpu")
    exact = torch.float64  # on the CPU, or on CUDA, which has it
    log_weights = torch.zeros(runs, dtype=exact, device=place)
    change = machine.first_bias - first_base
    base, before = second_base.expand(runs, -1), 0.0
    for beta in betas(distributions):
        top = machine.second_logits(s)  # (runs, second)
        now = torch.lerp(base, top, beta)
        # log p*_k(s) - log p*_k-1(s), both at the same s; sums of hundreds of terms, exact.
        ratio = F.softplus(now) - F.softplus(torch.lerp(base, top, before))
        log_weights += ratio.to(place, exact).sum(1) + ((beta - before) * (s @ change)).to(place, exact)
        a = draw(now, generator)
        s = draw(torch.lerp(first_base.expand(runs, -1), machine.first_logits(a), beta), generator)
        before = beta
    log_base = F.softplus(first_base.cpu().double()).sum() + F.softplus(second_base.cpu().double()).sum()
    log_weights = log_weights.cpu()
    mean = torch.logsumexp(log_weights, 0) - math.log(runs)
    relative = (log_weights - mean).exp()  # weights as multiples of their mean
    # The derivative of the logarithm: the error of log Z is that of Z as a share of it.
    error = float(relative.std()) / runs**0.5 if runs > 1 else 0.0
    return LogPartition(float(log_base + mean), error)


def betas(distributions: int) -> list[float]:
    """Return the shares of the machine in each distribution, rising to 1; most lie where the modes part.

    Of 14,500 they are those of Salakhutdinov and Murray 2008: 500 up to .5, 4,000 up to .9, 10,000 up to 1.

    >>> [round(beta, 3) for beta in betas(29)][:3], betas(29)[-1], len(betas(29))
    ([0.5, 0.55, 0.6], 1.0, 29)
    """
    counts = [max(1, round(distributions * part / 14_500)) for part in (500, 4_000)]
    counts.append(distributions - sum(counts))
    if counts[-1] < 1:
        return [(k + 1) / distributions for k in range(distributions)]
    found, low = list[float](), 0.0
    for count, high in zip(counts, (0.5, 0.9, 1.0), strict=True):
        found += [low + (high - low) * (k + 1) / count for k in range(count)]
        low = high
    return [*found[:-1], 1.0]
