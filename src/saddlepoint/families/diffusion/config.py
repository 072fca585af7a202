"""Every number that a diffusion run depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.contract import OptimizerSpec
from saddlepoint.family.rules import check_each

SOLVERS = {"flow": ("midpoint", "euler", "heun"), "ddpm": ("ancestral", "ddim")}
"""Ways to sample by process; the first is the default."""


@dataclass(frozen=True)
class DiffusionConfig(FamilyConfig):
    """Process, network, sampling and optimizer of a diffusion model."""

    batch_size: int = option(64, "samples per minibatch")
    process: str = option(
        "flow", "flow: straight paths from noise to data, the network predicts their velocity; ddpm: a chain that adds "
        "noise, the network predicts the noise", choices=("flow", "ddpm"),
    )  # fmt: skip
    schedule: str = option(
        "linear", "with ddpm, noise by step: linear (Ho et al. 2020), cosine (Nichol and Dhariwal 2021)",
        choices=("linear", "cosine"),
    )  # fmt: skip
    chain_steps: int = option(1000, "with ddpm, steps of the chain that adds noise")
    times: str = option(
        "uniform", "with flow, times that training sees: uniform, or logit-normal, more of the middle",
        choices=("uniform", "logit-normal"),
    )  # fmt: skip
    prediction: str = option(
        "velocity", "with flow, what the network says: the velocity, or the data, from which the velocity follows",
        choices=("velocity", "data"),
    )  # fmt: skip
    evaluations: int = option(20, "evaluations of the network that a sample takes; guidance doubles them")
    solver: str = option(
        "auto", "how a sample is found: with flow euler, heun or midpoint (auto), with ddpm ancestral (auto) or ddim",
        choices=("auto", *SOLVERS["flow"], *SOLVERS["ddpm"]),
    )  # fmt: skip
    conditional: bool = option(False, "ask for samples by label")
    guidance: float = option(1.0, "classifier-free guidance of samples by label; 1: none")
    label_dropout: float = option(0.1, "share of the samples whose label training hides; guidance needs some")
    widths: tuple[int, ...] = option((48, 96), "channels of features at each side, from the largest")
    blocks: int = option(1, "residual blocks at each side on the way down; of vectors in all")
    patch: int = option(2, "side of the square of pixels that is one place of the largest maps")
    block: str = option(
        "plain", "plain: LeakyReLU and little else, fast on a CPU; published: group normalisation and SiLU, more joins",
        choices=("plain", "published"),
    )  # fmt: skip
    attention: int | None = option(
        None, "number of the side that has attention after each block, 0: the largest; none: no attention"
    )
    keep_probability: float = option(1.0, "share of the features in a block that dropout keeps; 1: no dropout")
    condition_width: int = option(192, "numbers of the vector that tells blocks time and label")
    vector_width: int = option(128, "hidden units of the network for vectors")
    optimizer: str = options.adam_or_muon()
    matrix_lr: float = options.matrix_lr(10.0)
    momentum: float = options.matrix_momentum()
    lr: float = option(1e-3, "adam's learning rate at the start")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    warm_up_kimg: float | None = option(None, "thousands of samples in which the rate rises to lr; none: at once")
    beta1: float = option(0.9, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")
    game: bool = option(False, "train by a game of samples against a discriminator, not by regression; see --from")
    discriminator_width: int = option(32, "channels of D at half the side; they double with every halving")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of the network's")
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.widths) and min(self.widths) >= 1, "widths", self.widths, "one number or more, each at least 1")
        sizes = ("evaluations", "blocks", "patch", "condition_width", "vector_width", "discriminator_width")
        check_each(self, "at least 1", *sizes)
        check(self.chain_steps >= 2, "chain_steps", self.chain_steps, "at least 2")
        check_each(self, "positive", "lr", "discriminator_lr")
        check_each(self, "0 or more", "guidance")
        check_each(self, "in (0, 1]", "keep_probability")
        check_each(self, "in [0, 1)", "beta1", "beta2", "label_dropout")
        check_each(self, "positive, or none", "lr_decay_kimg", "warm_up_kimg", "r1_gamma", "r2_gamma")
        check(not self.game or self.process == "flow", "game", self.game, "false with --process ddpm, which adds noise")
        options.check_muon(self)
        fits = self.attention is None or 0 <= self.attention < len(self.widths)
        check(fits, "attention", self.attention, f"a number below {len(self.widths)}, as there are widths, or none")
        known = ("auto", *SOLVERS[self.process])
        check(self.solver in known, "solver", self.solver, f"{' or '.join(known)} with --process {self.process}")
        check(
            self.process == "flow" or self.evaluations <= self.chain_steps, "evaluations", self.evaluations,
            f"at most {self.chain_steps}, the steps of the chain",
        )  # fmt: skip
        hidden = not self.conditional or self.guidance == 1 or self.label_dropout > 0
        check(hidden, "label_dropout", self.label_dropout, "positive with --guidance, which compares with no label")

    @property
    def way(self) -> str:
        """How a sample is found."""
        return SOLVERS[self.process][0] if self.solver == "auto" else self.solver

    def learning_rate(self, at: Progress) -> float:
        """Return the learning rate of a step."""
        return options.learning_rate(self, at)

    def specification(self) -> OptimizerSpec:
        """Return the network's optimizer."""
        return options.specification(self)
