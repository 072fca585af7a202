"""What families of explicit models can do: say how likely a sample is, find its input, ask their network many times.

Capabilities as those in `capabilities.py`: small classes without state that a family inherits.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.core.config import check
from saddlepoint.core.errors import ConfigError
from saddlepoint.family.contract import Family


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

    @property
    def estimator(self) -> str:
        """What else the figure depends on, as a word of the protocol's name: ``iw500`` for 500 importance samples."""
        return ""

    @abc.abstractmethod
    def log_likelihood(self, x: Tensor, *, generator: torch.Generator) -> LogLikelihoods:
        """Return log p(x), or what is known of it.

        It is asked with the networks in evaluation mode and without gradients, once for all rows: what is costly to
        hold for thousands of rows, the family computes in pieces.

        Args:
            x: (n, *sample) in the inside range, images as they are: what is drawn for ``observed`` is drawn here.
            generator: of all randomness, on the device of ``x``.
        """


class Encoding(abc.ABC):
    """Finds for a sample the input that it is generated from: what goes in comes out."""

    @abc.abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return inputs of ``generate`` for samples (n, *sample) in the inside range, without randomness."""


NO_LIKELIHOOD = (
    "has no likelihood: it makes samples, but does not say how likely given ones are, as no GAN does; use parzen, "
    "which estimates one from samples, or jsd, which bounds how far they are from the data"
)
"""What is said of a family that is no `Likelihood`, after its name."""


NO_ENCODER = (
    "has no encoder: nothing but a search finds the input of a given sample (saddle explore RUN --project FILE)"
)
"""What is said of a family that is no `Encoding`, after its name."""


class Iterative:
    """Asks its network many times for each sample. Where pictures follow training it asks a few times only."""

    evaluations: int
    """Passes of the network that a sample takes; it may be set to another number before samples are drawn."""

    glimpse: ClassVar[int] = 4
    """As many at most for pictures that training shows of itself."""


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


def explicit(family: Any) -> Likelihood:
    """Return the family as one that says how likely samples are.

    Raises:
        ConfigError: if it does not.
    """
    if not isinstance(family, Likelihood):
        raise ConfigError(f"family '{family.name}' {NO_LIKELIHOOD}")
    return family


def encoding(family: Any) -> Encoding:
    """Return the family as one that finds the input of a sample.

    Raises:
        ConfigError: if it does not.
    """
    if not isinstance(family, Encoding):
        raise ConfigError(f"family '{family.name}' {NO_ENCODER}")
    return family
