"""What an experiment of the lab finds: measured figures, each with the bounds that theory sets for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.progress import Say
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.figures.video import film
from saddlepoint.lab.live import Live

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image


@dataclass(frozen=True)
class Check:
    """A figure that theory bounds.

    Attributes:
        what: in words.
        measured: the figure; one that is not a number breaks every bound.
        low, high: the bounds, both included.
    """

    what: str
    measured: float
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def near(cls, what: str, measured: float, expected: float, tolerance: float) -> Check:
        """Return the check that ``measured`` is within ``tolerance`` of ``expected``."""
        return cls(what, measured, expected - tolerance, expected + tolerance)

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bounds."""
        return self.low <= self.measured <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            rule = f"at most {self.high:.4g}"
        elif math.isinf(self.high):
            rule = f"at least {self.low:.4g}"
        else:
            rule = f"{self.low:.6g} to {self.high:.6g}"
        return f"{self.what}: {self.measured:.6g} ({rule})"


@dataclass
class Lab:
    """Where an experiment is carried out: its random numbers, and where pictures go.

    Attributes:
        seed: of everything random.
        out: folder of pictures; None: none are drawn.
        say: hears of progress.
        files: pictures written so far.
    """

    seed: int = 0
    out: Path | None = None
    say: Say = lambda line: None
    files: list[Path] = field(default_factory=list)

    def stream(self, *parts: str | int) -> torch.Generator:
        """Return random numbers of their own for a part of the experiment."""
        return stream("cpu", "lab", self.seed, *parts)

    def save(self, name: str, picture: Figure | list[Image.Image]) -> None:
        """Write a figure as PNG, or frames as GIF."""
        if self.out is None:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, list):
            path = self.out / f"{name}.gif"
            path.write_bytes(film(picture, 80))
        else:
            path = self.out / f"{name}.png"
            picture.savefig(path, dpi=110)
        self.files.append(path)


@dataclass(frozen=True)
class Experiment:
    """An experiment with a closed-form truth.

    Attributes:
        name: word for it on the command line.
        title: heading.
        claim: what theory says, in a sentence.
        run: carries it out and returns its checks.
        live: the same to be watched, with controls.
    """

    name: str
    title: str
    claim: str
    run: Callable[[Lab], list[Check]]
    live: type[Live]


@dataclass(frozen=True)
class Findings:
    """What an experiment found.

    Attributes:
        experiment: which.
        checks: its figures against their bounds.
        files: pictures.
        seconds: it took.
    """

    experiment: Experiment
    checks: tuple[Check, ...]
    files: tuple[Path, ...]
    seconds: float

    @property
    def broken(self) -> tuple[Check, ...]:
        """Checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)

    def __str__(self) -> str:
        held = len(self.checks) - len(self.broken)
        return f"{self.experiment.name}: {held} of {len(self.checks)} checks hold, {self.seconds:.0f} s"

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold; an open bound is null."""
        checks = [
            {"what": c.what, "measured": c.measured, "low": _closed(c.low), "high": _closed(c.high), "holds": c.holds}
            for c in self.checks
        ]
        seconds, files = round(self.seconds, 1), [str(path) for path in self.files]
        return {"experiment": self.experiment.name, "seconds": seconds, "files": files, "checks": checks}


def _closed(bound: float) -> float | None:
    return None if math.isinf(bound) else bound


def chosen(names: list[str], known: dict[str, Experiment]) -> list[Experiment]:
    """Return the experiments of these names; all where there are none.

    Raises:
        ConfigError: on an unknown name, with the nearest one.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no experiment '{name}'; {suggest(name, known)}")
    return [known[name] for name in names or known]


def axes(rows: int, columns: int, width: float = 3.6, height: float = 3.0) -> tuple[Figure, Any]:
    """Return an empty figure and its axes as a two-dimensional array."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def frame(figure: Figure) -> Image.Image:
    """Return a figure as a picture, for a film."""
    import numpy as np
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(64)
