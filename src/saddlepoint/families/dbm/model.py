"""The deep Boltzmann machine of two hidden layers.

    p(v, h1, h2) = exp(h1'W1 v + h2'W2 h1 + b'v + c1'h1 + c2'h2) / Z
    log p(x) >= sum_h q(h) log p*(x, h) + H(q) - log Z,    h = (h1, h2), q(h) = prod_j mu_j^h_j (1 - mu_j)^(1 - h_j)

The positive phase takes q, the independent units with the largest bound, by mean-field updates; the negative phase
takes Markov chains that go on from step to step. Sources: Salakhutdinov and Hinton 2009; centring in place of their
greedy pretraining: Montavon and Müller 2012. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, at_least_float32
from saddlepoint.families.dbm.config import DBMConfig
from saddlepoint.family import Batch, Context, DataSpec
from saddlepoint.family.boltzmann import Boltzmann
from saddlepoint.family.contract import Phase, Terms
from saddlepoint.nn.boltzmann import backwards, in_full
from saddlepoint.nn.layers import affine

_INFERENCE = 50
"""Mean-field updates where a likelihood is asked for; each raises the bound, and they have settled by then."""


class Model(Boltzmann):
    """s is the first hidden layer h1, a are the pixels and the second hidden layer: (v, h2).

    Rows of ``machine.weight`` are W1' for the pixels, then W2. Its methods stand in the order in which a step needs
    them.
    """

    def __init__(self, config: DBMConfig, data: DataSpec) -> None:
        first, second = config.hidden_widths
        super().__init__(config, data, first, torch.Size(data.shape).numel() + second, config.chains)

    @property
    def visible_units(self) -> tuple[nn.Parameter, Tensor]:
        return self.machine.second_bias, self.second_mean

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return -sum_h q log p* - H(q) minus the mean free energy of the chains: its gradient is that of -bound."""
        x = self.pixels(batch.x, ctx.generator)  # (batch, visible)
        # mu and H(q), constants: the bound is flat in them where they have settled.
        h1, h2, entropy = self.mean_field(x, self.config.mean_field_steps)
        s = self.fantasies(ctx.generator)  # h1 of the chains, (chains, first)
        own = self.parameters_of_loss()
        both = torch.cat([h1, s])
        logits = at_least_float32(affine(both, own.weight, own.second_bias))  # (W1'h1 + b, W2 h1 + c2)
        of_first = in_full(both, own.first_bias)
        # E is linear in each layer, so that its mean under q is E of the means.
        of_data = -of_first[: len(x)] - (logits[: len(x)] * torch.cat([x, h2], 1)).sum(1) - entropy
        of_model = (-of_first[len(x) :] - F.softplus(logits[len(x) :]).sum(1)).mean()  # v and h2 summed out
        self.follow(self.first_mean, h1)
        self.follow(self.second_mean[self.visible :], h2)
        return Terms(of_data - of_model, {"F(x)": of_data.detach(), "F(chain)": of_model.detach()})

    @torch.no_grad()
    def mean_field(self, x: Tensor, steps: int) -> tuple[Tensor, Tensor, PerSample]:
        """Return mu of both hidden layers given pixels, (n, first) and (n, second), and H(q), from h2 at its mean.

        Each update is the best of a layer given the other: the bound rises (Salakhutdinov and Hinton 2009, equation 7).
        """
        machine, v = self.machine, self.visible
        of_pixels = backwards(x, machine.weight[:v], machine.first_bias)  # W1 v + c1
        upper, bias = machine.weight[v:], machine.second_bias[v:]
        zeros, second = torch.zeros_like(machine.first_bias), self.second_mean[v:].expand(len(x), -1)
        for _ in range(steps):
            to_first = of_pixels + backwards(second, upper, zeros)
            first = torch.sigmoid(to_first)
            to_second = at_least_float32(affine(first, upper, bias))
            second = torch.sigmoid(to_second)
        # -p log p - (1 - p) log(1 - p) = log(1 + e^l) - l p, l the logit of p.
        pairs = ((to_first, first), (to_second, second))
        entropy = torch.stack([(F.softplus(logits) - logits * p).sum(1) for logits, p in pairs]).sum(0)
        return first, second, entropy

    @torch.no_grad()
    def fantasies(self, generator: torch.Generator) -> Tensor:
        """Return h1 of the chains a few Gibbs steps on; v and h2 are drawn given it, and it given them."""
        s = self.machine.gibbs(self.chains.to(self.first_mean.dtype), self.config.gibbs_steps, generator)
        self.chains.copy_(s)
        return s

    def pixels_of(self, s: Tensor, generator: torch.Generator, shift: Tensor) -> Tensor:
        """Return p(v = 1 | h1) for the h1 of the next Gibbs step."""
        machine, v = self.machine, self.visible
        s = machine.gibbs(s, 1, generator, shift)
        return torch.sigmoid(at_least_float32(affine(s, machine.weight[:v], machine.second_bias[:v])))

    def unnormalised(self, x: Tensor) -> PerSample:
        """Return the lower bound of log p*(x): sum_h q log p*(x, h1, h2) + H(q)."""
        h1, h2, entropy = self.mean_field(x, _INFERENCE)
        logits = self.machine.second_logits(h1)
        return in_full(h1, self.machine.first_bias) + (logits * torch.cat([x, h2], 1)).sum(1) + entropy
