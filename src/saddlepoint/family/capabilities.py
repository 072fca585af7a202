"""What only some families can do: each capability is a small class that a family inherits and everything else asks for.

``class StyleGAN(StyleSpace, Conditional, Family)`` says what it can; ``isinstance(family, StyleSpace)`` is how engine,
evaluation and pages find out, and what a type checker sees. A capability holds no state of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from saddlepoint.core.config import check
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.spec import Batch, DataSpec, DataStats
from saddlepoint.family import registry
from saddlepoint.family.contract import Context, Family, FamilyConfig, Phase, Remedy, Terms

C = TypeVar("C", bound=FamilyConfig)


class Simultaneous(abc.ABC):
    """Plays its game at once: one forward pass of both networks serves the losses of all phases."""

    @abc.abstractmethod
    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Compute the losses of phases that step together, by their names; a simultaneous stage asks for it.

        Phases that are missing in what is returned are asked for one by one, by `Family.loss`.

        Args:
            phases: those that are due, in the order of the cycle.
            batch: the minibatch that all of them see.
            ctx: the random numbers that all of them share.
        """

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Compute one phase's loss, where phases alternate: from the same pass."""
        return self.losses((phase,), batch, ctx)[phase.name]


class DiscriminatorLogits(abc.ABC):
    """Has a D that can be asked about any samples: the training doctor does so, at reports."""

    @abc.abstractmethod
    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return D's logit of each given sample, (n,), as D judges when it does not learn.

        It is asked with the networks in evaluation mode and without gradients. No randomness: dropout is off.

        Args:
            x: (n, *sample) in the inside range: data or samples.
            labels: (n,) class indices where D is conditional, else None.
        """


class Conditional(abc.ABC):
    """Samples can be asked for by label, if the data has labels."""

    data: DataSpec

    @property
    def classes(self) -> int:
        """How many classes samples can be asked for; 0: the data, or the options, have none."""
        return len(self.data.classes)

    def sample_labels(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Draw labels in the shares of the training data, (n,) int64; None where `classes` is 0."""
        if not self.classes:
            return None
        shares = torch.tensor(self.data.shares or (1.0,) * self.classes, device=generator.device)
        return torch.multinomial(shares, n, replacement=True, generator=generator)


class StyleSpace(abc.ABC):
    """Has an intermediate latent space w: z is mapped to w, and w steers each layer of the generator."""

    @property
    @abc.abstractmethod
    def w_layers(self) -> int:
        """How many layers take a style of their own."""

    @property
    @abc.abstractmethod
    def w_average(self) -> Tensor:
        """Mean of w over inputs, (w,), which truncation pulls towards."""

    @abc.abstractmethod
    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Turn inputs into points of the intermediate latent space, (n, w)."""

    @abc.abstractmethod
    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Tensor:
        """Turn a point of w for each layer, (n, `w_layers`, w), into samples.

        ``generate(inputs)`` is ``synthesis`` of ``mapping(inputs)`` for every layer, but for further randomness: here
        it is drawn once for all rows, so that they differ by their styles alone.
        """


class Translator:
    """Transforms images: inputs of ``generate`` are images, labels the domains to translate into."""

    stride: int = 1
    """Sides of images that it transforms are multiples of this."""


class Guided(Translator):
    """Translates into the style of a given image, too."""

    @abc.abstractmethod
    def guided(self, inputs: Tensor, references: Tensor, labels: Tensor) -> Tensor:
        """Translate images into domains (n,), each in the style of a reference."""


class Prepared(abc.ABC):
    """Depends on the data by more than its shape: an output bias, a scaler's ranges, example rows."""

    @abc.abstractmethod
    def prepare(self, stats: DataStats) -> None:
        """Set what depends on the data, once, before the first step; it stands in buffers or parameters."""


class Constrained(abc.ABC):
    """Has parameters that must stay in a set: a norm, a box."""

    @abc.abstractmethod
    def constrain(self, phase: Phase) -> None:
        """Put parameters back into the set they may be in, after the update of ``phase``."""


class BatchNormalised(abc.ABC):
    """Has statistics of minibatches, which averaged weights never saw."""

    @abc.abstractmethod
    def recalibrate_batch_norm(self, generator: torch.Generator) -> None:
        """Recompute the statistics for the averaged weights, before they sample."""


@dataclass(frozen=True)
class LogLikelihoods:
    """How likely samples are, in nats.

    Attributes:
        values: (n,), one number a sample: log of a probability where the model sees pixels that are 0 or 1, of a
            density in units of 256 levels where it sees levels with noise between them.
        error: standard error of what all of them share, such as a partition function that was estimated; 0: none.
    """

    values: Tensor
    error: float = 0.0


class Likelihood(abc.ABC):
    """Is an explicit model: it says how likely given samples are."""

    likelihood: ClassVar[Literal["exact", "lower bound", "annealed importance sampling"]]
    """How it is known: a lower bound is at most the likelihood, an estimate has an error."""

    @property
    @abc.abstractmethod
    def observed(self) -> Literal["binary", "levels", "values"]:
        """What it is a likelihood of: images whose pixels are drawn 0 or 1 with the probability that is their grey,
        images of 256 levels with noise uniform on one level, or numbers as they are."""

    @abc.abstractmethod
    def log_likelihood(self, x: Tensor, *, generator: torch.Generator) -> LogLikelihoods:
        """Return log p(x), or what is known of it.

        It is asked with the networks in evaluation mode and without gradients.

        Args:
            x: (n, *sample) in the inside range, images as they are: what is drawn for ``observed`` is drawn here.
            generator: of all randomness, on the device of ``x``.
        """


class Encoding(abc.ABC):
    """Finds for a sample the input that it is generated from: what goes in comes out."""

    @abc.abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return inputs of ``generate`` for samples (n, *sample) in the inside range, without randomness."""


class Iterative:
    """Asks its network many times for each sample. Where pictures follow training it asks a few times only."""

    evaluations: int
    """Passes of the network that a sample takes; it may be set to another number before samples are drawn."""

    glimpse: ClassVar[int] = 4
    """As many at most for pictures that training shows of itself."""


class SuitsData(abc.ABC, Generic[C]):
    """Chooses options by the data, where none was named."""

    @classmethod
    @abc.abstractmethod
    def suited(cls, config: C, data: DataSpec, chosen: Collection[str]) -> tuple[C, tuple[str, ...]]:
        """Return the options that suit the data, and a sentence for each that was changed.

        Args:
            config: options as asked for.
            data: what training will see.
            chosen: names of the options that the user named; they stay.
        """


class Sized(abc.ABC):
    """Makes, or transforms, images of some sizes only."""

    sizes: ClassVar[tuple[int, ...]]
    """Sides of squares that are chosen among where no size is asked for."""

    most_on_cpu: ClassVar[int] = 32
    """Side of own images up to which a CPU trains in minutes; larger ones only if asked for."""

    @classmethod
    @abc.abstractmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Whether it makes images of this size, with the default options."""


class Remediable:
    """Has options that the training doctor may change on an alarm."""

    remedies: ClassVar[tuple[Remedy, ...]] = ()
    """What may be tried, in this order; `saddlepoint.family.remedies` has the common ones."""

    paper_presets: ClassVar[tuple[str, ...]] = ()
    """Presets that follow a paper; remedies are off there unless asked for, and no option is chosen by the data."""


_CAPABILITIES = (
    Simultaneous, DiscriminatorLogits, Conditional, StyleSpace, Guided, Prepared, Constrained, BatchNormalised,
    Likelihood, Encoding, Iterative, SuitsData, Sized, Remediable,
)  # fmt: skip
"""Those that are recognised by their members where a family forgot to inherit one; a stride has many a network."""


def check_capabilities(kind: type[Family]) -> None:
    """Refuse a family with a member of a capability that it does not inherit: nobody would ever ask for it.

    Raises:
        ConfigError: naming the member and the class to inherit.
    """
    own = {name for base in kind.__mro__ if issubclass(base, Family) and base is not Family for name in vars(base)}
    for capability in _CAPABILITIES:
        members = {*vars(capability), *capability.__annotations__} - {"loss"}  # which every family has
        found = {name for name in own & members if not name.startswith("_")}
        if found and not issubclass(kind, capability):
            raise ConfigError(
                f"family '{kind.name}' has '{min(found)}', which is asked of a {capability.__name__} only; inherit it "
                f"from saddlepoint.family: class {kind.__name__}({capability.__name__}, Family)"
            )


def register(kind: type[Family]) -> type[Family]:
    """Class decorator that makes a family known by its name.

    Raises:
        ConfigError: if another class has the name already, or a member of a capability that it does not inherit.
    """
    check_capabilities(kind)
    registry.add(kind)
    return kind


def prepare(family: Family, stats: DataStats) -> None:
    """Show a family the statistics of its data, if it depends on them; once, before the first step."""
    if isinstance(family, Prepared):
        family.prepare(stats)


def draw_labels(family: Family, n: int, generator: torch.Generator) -> Tensor | None:
    """Draw labels in the shares of the training data, (n,) int64; None for an unconditional generator."""
    return family.sample_labels(n, generator) if isinstance(family, Conditional) else None


@contextmanager
def glimpsed(family: Family) -> Iterator[None]:
    """Let samples inside the block take few passes of the network, if a family takes many."""
    if not isinstance(family, Iterative):
        yield
        return
    whole = family.evaluations
    family.evaluations = min(whole, family.glimpse)
    try:
        yield
    finally:
        family.evaluations = whole


def set_evaluations(family: Family, evaluations: int | None) -> None:
    """Let samples of a family take so many passes of its network; None: as many as its options say.

    Raises:
        ConfigError: if its samples take one pass, or the number is below 1.
    """
    if evaluations is None:
        return
    if not isinstance(family, Iterative):
        raise ConfigError(f"family '{family.name}' makes a sample in one pass; leave the evaluations out")
    check(evaluations >= 1, "evaluations", evaluations, "at least 1")
    family.evaluations = evaluations


def style_space(family: Any) -> StyleSpace:
    """Return the family as one with an intermediate latent space.

    Raises:
        ConfigError: if it has none.
    """
    if not isinstance(family, StyleSpace):
        raise ConfigError(f"family '{family.name}' has no intermediate latent space w")
    return family


def guided(family: Any) -> Guided:
    """Return the family as one that takes reference images.

    Raises:
        ConfigError: if it takes none.
    """
    if not isinstance(family, Guided):
        raise ConfigError(f"family '{family.name}' takes no reference images; leave the reference out")
    return family


def paper_presets(kind: type[Family]) -> tuple[str, ...]:
    """Return the presets of a family that follow a paper."""
    return kind.paper_presets if issubclass(kind, Remediable) else ()


def remedies(kind: type[Family]) -> tuple[Remedy, ...]:
    """Return what the training doctor may try with a family."""
    return kind.remedies if issubclass(kind, Remediable) else ()


def suited(
    kind: type[Family], config: FamilyConfig, data: DataSpec, chosen: Collection[str]
) -> tuple[FamilyConfig, tuple[str, ...]]:
    """Return the options that suit the data, and a sentence for each that a family changed; see `SuitsData.suited`."""
    return kind.suited(config, data, chosen) if issubclass(kind, SuitsData) else (config, ())
