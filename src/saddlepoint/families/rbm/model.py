"""The restricted Boltzmann machine, trained by persistent contrastive divergence.

    p(v) = exp(-F(v)) / Z,    F(v) = -b'v - sum_j log(1 + exp(c_j + W_j v))
    d(-log p(x)) = dF(x) - E_v dF(v)

The expectation is over the model's own pictures: Markov chains follow it, which go on from one step to the next, as
the weights move slowly (Tieleman 2008). With chains that start at the minibatch it is contrastive divergence (Hinton
2002). Sources: Smolensky 1986; Hinton 2002; Tieleman 2008; numbers of the paper preset: Salakhutdinov and Murray 2008.
Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, at_least_float32
from saddlepoint.families.rbm.config import RBMConfig
from saddlepoint.family import Batch, Context, DataSpec
from saddlepoint.family.boltzmann import Boltzmann
from saddlepoint.family.contract import Phase, Terms
from saddlepoint.nn.boltzmann import draw, in_full
from saddlepoint.nn.layers import affine


class Model(Boltzmann):
    """s are the pixels, a the hidden units. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: RBMConfig, data: DataSpec) -> None:
        pixels = torch.Size(data.shape).numel()
        super().__init__(config, data, pixels, config.hidden, config.chains if config.persistent else 0)

    @property
    def visible_units(self) -> tuple[nn.Parameter, Tensor]:
        return self.machine.first_bias, self.first_mean

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return F(x) minus the mean of F over the chains, which are constants: the gradient is that of -log p."""
        x = self.pixels(batch.x, ctx.generator)  # (batch, visible)
        v = self.fantasies(x, ctx.generator)  # (chains, visible)
        own = self.parameters_of_loss()
        both = torch.cat([x, v])
        logits = at_least_float32(affine(both, own.weight, own.second_bias))  # c + W v, (batch + chains, hidden)
        free_energy = -in_full(both, own.first_bias) - F.softplus(logits).sum(1)
        of_data, of_model = free_energy[: len(x)], free_energy[len(x) :].mean()
        self.follow(self.second_mean, torch.sigmoid(logits[: len(x)].detach()))
        return Terms(of_data - of_model, {"F(x)": of_data.detach(), "F(chain)": of_model.detach()})

    @torch.no_grad()
    def fantasies(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return pictures of the model: the chains a few steps on, or the minibatch a few steps away from the data."""
        if not self.config.persistent:
            return self.machine.gibbs(x, self.config.gibbs_steps, generator)
        v = self.machine.gibbs(self.chains.to(x.dtype), self.config.gibbs_steps, generator)
        self.chains.copy_(v)
        return v

    def pixels_of(self, s: Tensor, generator: torch.Generator, shift: Tensor) -> Tensor:
        """Return p(v = 1 | h) for hidden units drawn given s."""
        return torch.sigmoid(self.machine.first_logits(draw(self.machine.second_logits(s), generator, shift)))

    def unnormalised(self, x: Tensor) -> PerSample:
        """Return log p*(x) = -F(x)."""
        return -self.machine.free_energy(x)
