"""By which distance a generator's samples are brought near to given pictures."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.progress import Say
from saddlepoint.core.types import Samples
from saddlepoint.data.sources.hub import offline
from saddlepoint.metrics.perceptual import LEAST_SIDE, Perceptual, perceptual
from saddlepoint.run.run import Run

NAMES = ("perceptual", "pixels")

_PIXELS = 1.0
"""Weight of the mean squared error beside the perceptual distance, which sees colours of large parts faintly."""


def squared_errors(a: Samples, b: Samples) -> Tensor:
    """Return the mean squared error of each pair, (n,), in squared units of the inside range."""
    return (a - b).square().flatten(1).mean(1)


class Likeness:
    """A distance between samples, of which a search asks many times for the same pictures.

    Args:
        seen: the perceptual distance; None: of pixels alone.
    """

    def __init__(self, seen: Perceptual | None) -> None:
        self.seen = seen

    @property
    def name(self) -> str:
        """The word for it."""
        return NAMES[0] if self.seen else NAMES[1]

    @property
    def title(self) -> str:
        """What an error by it is, in words."""
        return "perceptual distance and mean squared error" if self.seen else "mean squared error"

    def rows(self, samples: Samples) -> Tensor:
        """Return samples as rows whose squared Euclidean distances are the errors, (n, d)."""
        flat = samples.flatten(1)
        flat = flat * (_PIXELS / flat.shape[1]) ** 0.5
        if self.seen is None:
            return flat
        from torch import cat

        return cat([flat, self.seen.embed(samples)], 1)

    def to(self, targets: Samples) -> Callable[[Samples], Tensor]:
        """Return the function that gives the errors (n,) of samples to these pictures (n, *sample)."""
        wanted = self.rows(targets).detach()
        return lambda made: (self.rows(made) - wanted).square().sum(1)


def likeness_for(run: Run, name: str | None = None, say: Say | None = None) -> Likeness:
    """Return the distance that suits a run's samples.

    Args:
        run: whose samples.
        name: one of `NAMES`; None: ``perceptual`` for pictures of `LEAST_SIDE` pixels and more, where the weights of
            its network can be had; else ``pixels``, and ``say`` hears why.
        say: receives lines worth telling.

    Raises:
        ConfigError: on another name, or ``perceptual`` where samples are no pictures.
        DataError: if ``perceptual`` is asked for, and the weights cannot be had.
    """
    data = run.family.data
    if name is not None and name not in NAMES:
        raise ConfigError(f"the distance is '{name}'; {suggest(name, NAMES)}")
    if data.modality != "image":
        if name == NAMES[0]:
            raise ConfigError(f"'{run.name}' makes {data.modality}s, which have no perceptual distance: choose pixels")
        return Likeness(None)
    if name == NAMES[1] or (name is None and min(data.shape[1:]) < LEAST_SIDE):
        return Likeness(None)
    try:
        return Likeness(perceptual(str(run.device), download=name is not None or not offline(), say=say))
    except DataError as error:
        if name is not None:
            raise
        if say is not None:
            say(f"warning: pictures are compared pixel by pixel: {error}")
        return Likeness(None)
