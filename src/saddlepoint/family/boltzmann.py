"""What families of Boltzmann machines share: options, 0/1 pixels, chains that go on, samples, the likelihood.

A family of them says what s and a of its `nn.boltzmann.Bipartite` are, what a step descends, and how likely a picture
is but for the partition function.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.types import PerSample, Samples
from saddlepoint.data.spec import DataSpec, DataStats
from saddlepoint.family.capabilities import Prepared
from saddlepoint.family.contract import Family, FamilyConfig, OptimizerSpec, Phase, Progress, Stage
from saddlepoint.family.explicit import Iterative, Likelihood, LogLikelihoods
from saddlepoint.family.rules import check_each
from saddlepoint.nn.boltzmann import Bipartite, Parameters, annealed_log_partition, centred, draw_probability
from saddlepoint.objectives.schedules import inverse_root, linear_fall

MEAN_RATE = 0.01
"""Share of a minibatch in the running means of hidden units. Source: Melchior et al. 2016."""

_ROWS = 1_000
"""Rows whose likelihood is computed at once."""


@dataclass(frozen=True)
class BoltzmannConfig(FamilyConfig):
    """Options of training by chains, of sampling, and of annealed importance sampling."""

    batch_size: int = option(100, "samples per minibatch")
    chains: int = option(100, "Markov chains that go on from step to step, for the negative phase")
    gibbs_steps: int = option(1, "Gibbs steps of the chains in each step of training")
    centred: bool = option(True, "gradients of units minus their means (Montavon and Müller 2012)")
    init_deviation: float = option(0.01, "standard deviation of the initial weights")
    lr: float = option(0.05, "sgd's learning rate at the start")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it does not")
    lr_fall_kimg: float | None = option(
        None, "learning rate also falls along a line, to 0 after this many thousands of samples; none: it does not"
    )
    momentum: float = option(0.0, "sgd's momentum")
    sample_steps: int = option(100, "Gibbs steps from a sample's start to the sample")
    sample_start: str = option(
        "chains",
        "where samples start: at one of the training's chains, or at units drawn by their means",
        choices=("chains", "mean"),
    )
    ais_distributions: int = option(
        5_000, "evaluation only: distributions of annealed importance sampling between units without weights and this"
    )
    ais_runs: int = option(100, "evaluation only: independent runs of annealed importance sampling")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "chains", "gibbs_steps", "sample_steps", "ais_distributions")
        check(self.ais_runs >= 2, "ais_runs", self.ais_runs, "at least 2: the error is that between runs")
        check_each(self, "positive", "lr", "init_deviation")
        check_each(self, "positive, or none", "lr_decay_kimg", "lr_fall_kimg")
        check_each(self, "in [0, 1)", "momentum")

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg), times the line of ``lr_fall_kimg``."""
        falling = 1.0 if self.lr_fall_kimg is None else linear_fall(at.nimg, 0.0, self.lr_fall_kimg)
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg) * falling


class Boltzmann(Iterative, Likelihood, Prepared, Family):
    """A Boltzmann machine of 0/1 units in two groups, s and a.

    Args:
        config: its options.
        data: images.
        first: units of s.
        second: units of a.
        kept: chains that go on; 0: none do.
    """

    averaged = ("machine",)
    likelihood = "annealed importance sampling"
    # One unit on the other side of its number, by rounding, and the rest of the chain is another.
    no_graph = "draws units that are 0 or 1 at every step, so that another program's rounding leads to other samples"

    def __init__(self, config: BoltzmannConfig, data: DataSpec, first: int, second: int, kept: int) -> None:
        super().__init__(config, data)
        self.visible, self.evaluations = torch.Size(data.shape).numel(), config.sample_steps
        self.machine: Bipartite = Bipartite(first, second)
        # 0/1 as truths: what several shares of a minibatch leave in numbers is averaged, and a mean is no state.
        self.register_buffer("chains", torch.zeros(kept, first, dtype=torch.bool))
        self.register_buffer("first_mean", torch.full((first,), 0.5))
        self.register_buffer("second_mean", torch.full((second,), 0.5))
        self.chains: Tensor
        self.first_mean: Tensor
        self.second_mean: Tensor

    @property
    @abc.abstractmethod
    def visible_units(self) -> tuple[nn.Parameter, Tensor]:
        """The biases of the group that the pixels are in, and the means of its units; pixels come first in both."""

    @abc.abstractmethod
    def unnormalised(self, x: Tensor) -> PerSample:
        """Return log p*(x), (n,), or a lower bound of it, for pixels (n, visible) that are 0 or 1."""

    @abc.abstractmethod
    def pixels_of(self, s: Tensor, generator: torch.Generator, shift: Tensor) -> Tensor:
        """Return the probabilities of the pixels one Gibbs step after s, (n, visible); for the shift see `draw`."""

    def stages(self) -> tuple[Stage, ...]:
        """One phase, whose gradient is that of the log-likelihood, estimated."""
        return (Stage("training", (Phase("machine", trains=("machine",), optimizer="machine"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {"machine": OptimizerSpec("sgd", lr=self.config.learning_rate, momentum=self.config.momentum)}

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw weights from N(0, init_deviation^2) and chains from fair coins; biases are 0."""
        machine = self.machine
        nn.init.normal_(machine.weight, 0.0, self.config.init_deviation, generator=generator)
        nn.init.zeros_(machine.first_bias)
        nn.init.zeros_(machine.second_bias)
        self.chains.copy_(torch.rand(self.chains.shape, generator=generator) < 0.5)

    def prepare(self, stats: DataStats) -> None:
        """Set the biases of the pixels to log p / (1 - p), p the mean of each (Hinton 2010, section 8)."""
        bias, mean = self.visible_units
        p = (stats.mean.flatten() + 1) / 2
        # Half a row more of each kind: a pixel that is black in all rows keeps a finite bias.
        p = (p * self.data.rows + 0.5) / (self.data.rows + 1)
        with torch.no_grad():
            mean[: self.visible] = p
            bias[: self.visible] = torch.logit(p, 1e-7)

    def pixels(self, x: Samples, generator: torch.Generator) -> Tensor:
        """Draw 0/1 pixels, (n, visible), with the probability that is their grey: the paper's data, anew each time."""
        return draw_probability((x.flatten(1) + 1) / 2, generator)

    def parameters_of_loss(self) -> Parameters:
        """Return the machine's parameters, which have the centred gradient if that is asked for."""
        machine = self.machine
        if self.config.centred:
            return centred(machine, self.first_mean, self.second_mean)
        return Parameters(machine.weight, machine.first_bias, machine.second_bias)

    @torch.no_grad()
    def follow(self, mean: Tensor, units: Tensor) -> None:
        """Let a running mean follow the units of a minibatch, (n, units)."""
        mean.lerp_(units.mean(0), MEAN_RATE)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw where ``n`` samples start: uniform numbers (n, first), of which those below a unit's mean become 1.

        Of a chain's state they are those of a unit that is 1, or 0: uniform below its mean, or above.
        """
        device, mean = generator.device, self.bounded_mean()
        u = torch.rand((n, len(mean)), generator=generator, device=device)
        if self.config.sample_start == "mean":
            return u
        chosen = torch.randint(0, len(self.chains), (n,), generator=generator, device=device)
        p, is_on = mean.to(device), self.chains.to(device)[chosen]
        return torch.where(is_on, u * p, p + u * (1 - p))

    def bounded_mean(self) -> Tensor:
        """Return the means of the units s, (first,), between numbers that leave room on both sides."""
        return self.first_mean.clamp(0.001, 0.999)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return the probabilities of the pixels after ``evaluations`` Gibbs steps, as greys in [-1, 1].

        Chains that are drawn by the same numbers come together in time, wherever they start. So an input shifts the
        numbers of its chain, too.
        """
        s = (inputs < self.bounded_mean()).to(self.first_mean.dtype)
        shift = inputs.sum(1, keepdim=True).frac()
        s = self.machine.gibbs(s, self.evaluations - 1, generator, shift)
        return (2 * self.pixels_of(s, generator, shift) - 1).unflatten(1, self.data.shape)

    @property
    def observed(self) -> Literal["binary"]:
        """Pixels drawn 0 or 1 with the probability that is their grey."""
        return "binary"

    @property
    def estimator(self) -> str:
        """Numbers of distributions and runs."""
        return f"ais{self.config.ais_distributions}x{self.config.ais_runs}"

    def base(self) -> tuple[Tensor, Tensor]:
        """Return the biases of s and a in the base-rate model: pixels at their means, hidden units at one half."""
        first, second = torch.zeros_like(self.first_mean), torch.zeros_like(self.second_mean)
        mean = self.visible_units[1]
        (first if mean is self.first_mean else second)[: self.visible] = torch.logit(mean[: self.visible], 1e-7)
        return first, second

    def log_likelihood(self, x: Samples, *, generator: torch.Generator) -> LogLikelihoods:
        """Return log p*(x) - log Z, in nats, of pixels drawn 0 or 1; the error is that of log Z."""
        found = [self.unnormalised(self.pixels(part, generator)) for part in x.split(_ROWS)]
        z = annealed_log_partition(
            self.machine, *self.base(), self.config.ais_distributions, self.config.ais_runs, generator
        )
        return LogLikelihoods(torch.cat(found) - z.value, z.error)
