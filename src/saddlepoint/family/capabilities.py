"""What only some families can do: each capability is a small class that a family inherits and everything else asks for.

``class StyleGAN(StyleSpace, Conditional, Family)`` says what it can; ``isinstance(family, StyleSpace)`` is how engine,
evaluation and pages find out, and what a type checker sees. A capability holds no state of its own. Those of explicit
models are in `explicit.py`.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.spec import Batch, DataSpec, DataStats
from saddlepoint.family import registry
from saddlepoint.family.contract import Context, Family, FamilyConfig, Phase, Remedy, Terms
from saddlepoint.family.explicit import Encoding, Iterative, Likelihood
from saddlepoint.family.per_sample import PairLosses

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
    Likelihood, Encoding, Iterative, SuitsData, Sized, Remediable, PairLosses,
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
