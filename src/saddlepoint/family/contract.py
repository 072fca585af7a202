"""The contract between a family of models and everything else.

A family is a module with networks, a configuration with presets, an objective and a way to sample. It
describes its update order as data (stages of phases); the engine alone runs backward passes, steps
optimizers, averages weights and keeps state. Read `docs/architecture.md` for the floors around this page.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from saddlepoint.core.config import check, check_choices, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Modality
from saddlepoint.data.spec import Batch, DataSpec
from saddlepoint.family.registry import other_kind


@dataclass(frozen=True)
class Terms:
    """What a phase computed.

    Attributes:
        loss: one value per sample, (batch,), or a scalar for a statistic of the batch; the engine takes the mean.
        logs: detached per-sample tensors (or scalars) whose means go to the log under their names.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where training stands; schedules are functions of it and of nothing else.

    Attributes:
        step: completed passes through a cycle, over all stages.
        nimg: samples seen: batch size x steps.
        epoch: nimg / training rows.
    """

    step: int = 0
    nimg: int = 0
    epoch: float = 0.0


Schedule = float | Callable[[Progress], float]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer by name, with schedules for what may change during training.

    Attributes:
        kind: ``sgd`` (classical momentum), ``adam``, or ``muon``: orthogonal steps for the weights of convolutions
            between hidden layers, adam for all other parameters.
        lr: learning rate.
        momentum: for sgd, and for the matrices of muon.
        betas: for adam.
        matrix_lr: for muon, the learning rate of its matrices as a multiple of ``lr``.
        eps: for adam.
        weight_decay: L2 penalty, added to the gradient as weight_decay * parameter.
        multipliers: learning rates of submodules, by their names, as multiples of ``lr``.
    """

    kind: Literal["sgd", "adam", "muon"]
    lr: Schedule
    momentum: Schedule = 0.0
    betas: tuple[float, Schedule] = (0.9, 0.999)
    matrix_lr: float = 1.0
    eps: float = 1e-8
    weight_decay: float = 0.0
    multipliers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.kind in ("sgd", "adam", "muon"), "the kind of an optimizer", self.kind, "'sgd', 'adam' or 'muon'")


@dataclass(frozen=True)
class Phase:
    """One gradient computation and update.

    Attributes:
        name: shown in logs and errors; passed to `Family.loss`.
        trains: names of the submodules whose parameters this phase moves.
        optimizer: key into `Family.optimizers`; two phases may share one.
        every: the phase is due in each ``every``-th pass through the cycle (lazy regularisation, n_critic).
        offset: the first pass in which it is due.
        fresh_batch: draw a new minibatch instead of using the one the previous phase used.
        may_skip: whether its loss may be None: the phase then skips its turn, which all shares of the minibatch skip or
            none.
    """

    name: str
    trains: tuple[str, ...]
    optimizer: str
    every: int = 1
    offset: int = 0
    fresh_batch: bool = False
    may_skip: bool = False

    def due(self, cycle: int) -> bool:
        """Whether the phase runs in the given pass through its stage's cycle."""
        return cycle >= self.offset and (cycle - self.offset) % self.every == 0

    def times_due(self, cycles: int) -> int:
        """How often the phase is due in the first ``cycles`` passes."""
        return max(0, -(-(cycles - self.offset) // self.every))


@dataclass(frozen=True)
class Stage:
    """A part of training: the same cycle of phases, repeated.

    Attributes:
        name: shown in logs.
        cycle: phases in their order; a phase may stand in it several times.
        iterations: passes through the cycle; None means until the budget is spent (last stage only).
        simultaneous: compute the gradients of all phases at the same parameters, from the same minibatch and
            the same random numbers, then step them together. Otherwise phases alternate, each with
            random numbers of its own.
    """

    name: str
    cycle: tuple[Phase, ...]
    iterations: int | None = None
    simultaneous: bool = False

    def draws(self, cycles: int) -> int:
        """How many minibatches the first ``cycles`` passes consume: one each, and one per fresh batch."""
        return cycles + sum(phase.times_due(cycles) for phase in self.cycle[1:] if phase.fresh_batch)


@dataclass(frozen=True)
class Context:
    """What surrounds one phase of one step: its random numbers and where training stands.

    Attributes:
        generator: random numbers of this phase (noise, dropout masks, augmentation). In a simultaneous stage
            every phase gets the same ones.
        batch_generator: random numbers shared by all phases that see this minibatch, for what belongs to the
            minibatch itself (StarGAN's target labels).
        progress: where training stands.
    """

    generator: torch.Generator
    batch_generator: torch.Generator
    progress: Progress


@dataclass(frozen=True)
class Remedy:
    """One change of the options that may heal a verdict of the training doctor.

    Attributes:
        name: shown in the log and on the terminal.
        verdicts: what it is tried against, in the doctor's words.
        change: the options in force -> the changed options, or None where it does not apply. Networks, batch size and
            kind of optimizer must stay, because training goes on from a checkpoint.
        why: one sentence for the log.
    """

    name: str
    verdicts: tuple[str, ...]
    change: Callable[[Any], FamilyConfig | None]
    why: str


@dataclass(frozen=True)
class Tags:
    """What a family takes and how long it wants; what it can do beyond sampling are its `capabilities`.

    Attributes:
        modalities: kinds of data it accepts.
        input: what `Family.generate` transforms: latent vectors, images or sequences.
        attributes: whether a conditional one takes data whose samples carry several labels at once.
        budget: training time where no limit is given.
    """

    modalities: tuple[Modality, ...]
    input: Literal["latent", "image", "sequence"] = "latent"
    attributes: bool = False
    budget: str = "3m"


@dataclass(frozen=True)
class FamilyConfig:
    """Fields that every family's configuration has."""

    batch_size: int = option(64, "samples per minibatch")
    ema_half_life_kimg: float | None = option(
        None, "half-life of the averaged generator in thousands of samples; none: no upper limit"
    )
    ema_ramp: float | None = option(
        None, "half-life of the averaged generator as a share of the samples seen so far; none: no ramp"
    )

    def __post_init__(self) -> None:
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        for name in ("ema_half_life_kimg", "ema_ramp"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        check_choices(self)

    @property
    def keeps_average(self) -> bool:
        """Whether the averaged generator is another one than the last."""
        return self.ema_half_life_kimg is not None or self.ema_ramp is not None

    def ema_beta(self, nimg: int) -> float:
        """Weight of the old average after the step that brings the count of samples seen to ``nimg``.

        beta = 2 ** -(batch_size / half_life), half_life = min(ema_half_life_kimg * 1000, ema_ramp * nimg);
        0 (the average is the generator itself) when both are None. Source: Karras et al. 2020 (StyleGAN2-ADA).
        """
        limits = []
        if self.ema_half_life_kimg is not None:
            limits.append(self.ema_half_life_kimg * 1000)
        if self.ema_ramp is not None:
            limits.append(self.ema_ramp * nimg)
        return 0.5 ** (self.batch_size / min(limits)) if limits else 0.0


class Family(nn.Module, abc.ABC):
    """A family of models: configuration, networks, objective, sampling. Concrete families are final.

    Networks are submodules; everything that changes during training is a parameter or a buffer, so that one
    `state_dict` is complete. A family draws random numbers only from the generators it is given.
    What only some families can do (labels, styles, translation ...) are classes of `saddlepoint.family.capabilities`,
    which a family inherits before this one.

    Attributes:
        name: the word for it on the command line.
        summary: one line for listings, with the paper.
        tags: what it takes.
        Config: its configuration class.
        PRESETS: named configurations; the first is the default.
        averaged: names of the submodules of which the engine keeps a moving average for sampling.
        no_graph: why no other program can sample by a graph of it, as words after its name; "": one can.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tags: ClassVar[Tags]
    Config: ClassVar[type[FamilyConfig]]
    PRESETS: ClassVar[Mapping[str, FamilyConfig]]
    averaged: tuple[str, ...] = ("generator",)
    no_graph: ClassVar[str] = ""

    def __init__(self, config: FamilyConfig, data: DataSpec) -> None:
        super().__init__()
        if data.modality not in self.tags.modalities:
            raise ConfigError(f"family {other_kind(type(self), data.modality)}")
        self.config: Any = config
        self.data = data
        if data.labelling and self.classes and not self.tags.attributes:
            raise ConfigError(
                f"family '{self.name}' takes one class a sample, but these carry several labels at once; take data "
                "with a folder for each class, or a family that is told attributes"
            )

    @abc.abstractmethod
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the initial weights of every network from ``generator``."""

    @property
    def classes(self) -> int:
        """How many classes samples can be asked for; 0: the generator is unconditional."""
        return 0

    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the update order."""

    @abc.abstractmethod
    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return the optimizers that the phases name."""

    @abc.abstractmethod
    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        """Compute the loss that ``phase`` descends; None skips its update."""

    @abc.abstractmethod
    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` inputs for `generate`: latent vectors z of shape (n, latent).

        A family that transforms images draws among training images it was shown before the first step: (n, *sample).
        """

    @abc.abstractmethod
    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        """Turn inputs into samples in the inside range.

        Args:
            inputs: as `sample_inputs` draws them; of a family that transforms images any images in [-1, 1].
            labels: (n,) class indices; an unconditional generator does not read them. One that transforms images takes
                them as the domains to translate into, and of data with a labelling also (n, classes): 1 where a
                class shall hold, 0 where not, -1 in a group that shall stay as it is in the input.
            generator: source of further randomness.
        """
