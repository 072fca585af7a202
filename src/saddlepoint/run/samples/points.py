"""Places in latent space as words: seeds and pivots, moved along directions; views, and the commands that draw them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_python, for_shell
from saddlepoint.run.run import Run

_START = re.compile(r"(pivot)?(\d+)")
_MOVE = re.compile(r"([1-9]\d*|[^\W\d][\w.-]*)\s*=\s*([+-]?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Point:
    """A place in latent space: that of a seed, or of a picture that a run was tuned to, moved along directions.

    Attributes:
        seed: the place's sample is the first that `Run.sample` draws with this seed.
        moves: (direction, standard deviations) pairs; a direction is a number from 1 on, of the principal ones, or the
            name of one that the run keeps.
        pivot: number of a place that the run keeps, from 1 on; 0: that of the seed.
    """

    seed: int = 0
    moves: tuple[tuple[int | str, float], ...] = ()
    pivot: int = 0

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read ``SEED`` or ``pivotN``, each with ``,DIRECTION=AMOUNT,...`` where it is moved.

        Raises:
            ConfigError: if it is neither.

        >>> Point.parse("3,1=2,4=-1.5")
        Point(seed=3, moves=((1, 2.0), (4, -1.5)), pivot=0)
        >>> Point.parse("pivot1,glasses=2")
        Point(seed=0, moves=(('glasses', 2.0),), pivot=1)
        """
        first, *moves = (part.strip() for part in text.split(","))
        start, found = _START.fullmatch(first), [_MOVE.fullmatch(move) for move in moves]
        if start is None or not all(found) or (start[1] and not int(start[2])):
            raise ConfigError(
                f"the point is '{text}', but it must be SEED or SEED,DIRECTION=AMOUNT such as 3,1=2,4=-1.5 (pivot1 "
                "instead of the seed: the first picture that the run was tuned to)"
            )
        pairs = tuple((_direction(match[1]), float(match[2])) for match in found if match)
        number = int(start[2])
        return cls(0, pairs, number) if start[1] else cls(number, pairs)

    def __str__(self) -> str:
        start = f"pivot{self.pivot}" if self.pivot else str(self.seed)
        return ",".join([start, *(f"{name}={amount:g}" for name, amount in self.moves if amount)])


def _direction(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@dataclass(frozen=True)
class View:
    """How a place is looked at.

    Attributes:
        points: one place, or the corners of a path.
        at: where on the path: 0 is the first point, 1 the second, 1.5 halfway between second and third.
        label: index or name of a class, for a conditional generator; None: that of the nearer point's seed.
        truncation: distance from the mean as a share: 0 is the mean, 1 leaves the place where it is.
        mix: (seed, layer): from this layer on the style is that seed's; families with w only.
    """

    points: tuple[Point, ...] = (Point(),)
    at: float = 0.0
    label: int | str | None = None
    truncation: float = 1.0
    mix: tuple[int, int] | None = None


def command(run: Run, view: View) -> tuple[str, str]:
    """Return the command and the line of Python that make the picture of a view."""
    words, fields = [for_shell("saddle", "explore", run.path)], list[str]()
    words += [f"--point {point}" for point in view.points]
    shown = ", ".join(f'sp.Point.parse("{point}")' for point in view.points)
    fields.append(f"points=({shown},)")
    for name, value, usual in (
        ("at", view.at, 0.0), ("label", view.label, None), ("truncation", view.truncation, 1.0),
    ):  # fmt: skip
        if value != usual:
            words.append(f"--{name} {value:g}" if isinstance(value, float) else for_shell(f"--{name}", str(value)))
            fields.append(f"{name}={for_python(value) if isinstance(value, str) else repr(value)}")
    if view.mix is not None:
        words.append(f"--mix {view.mix[0]}:{view.mix[1]}")
        fields.append(f"mix={view.mix!r}")
    place = f"sp.View({', '.join(fields)})"
    loaded = f"sp.load({for_python(str(run.path))})"
    return " ".join(words), f"import saddlepoint as sp; sp.Explorer({loaded}).sample({place})"


def read_points(texts: Sequence[str]) -> tuple[Point, ...]:
    """Read points as `Point.parse` does; without any, the place of seed 0."""
    return tuple(Point.parse(text) for text in texts) or (Point(),)
