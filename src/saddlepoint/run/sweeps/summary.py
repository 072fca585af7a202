"""``summary.json`` of a sweep, read again: for pages, which take nothing in it on trust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import MOST, read_json
from saddlepoint.figures.trials import Point, draw_trials

FILE, SUMMARY, PICTURE = "sweep.json", "summary.json", "sweep.png"
"""Files of a sweep's folder: what it is, what came of it, the same as a picture."""

ROOT = "sweeps"
"""Folder of sweeps, beside the folder of runs."""

_MOST_TRIALS, _MOST_DIMENSIONS, _MOST_FIGURES = 10_000, 12, 100


@dataclass(frozen=True)
class Summary:
    """What a sweep came to.

    Attributes:
        name: of its folder.
        title: family and data.
        over: the options with their ranges, as they are written after ``--over``.
        measure: what trials were judged by.
        trials: number, values of the options, figure, state of each.
        best: number of the best one; None: there is none.
        winner: protocol, figure's name, mean, interval in words, of the winner on held-out rows.
    """

    name: str
    title: str
    over: tuple[str, ...]
    measure: str
    trials: tuple[Point, ...]
    best: int | None
    winner: tuple[tuple[str, str, float, str], ...]

    def picture(self) -> Image.Image:
        """Return the sweep as a picture."""
        return draw_trials(self.trials, self.over, self.measure, self.best)

    @property
    def names(self) -> list[str]:
        """Names of the options."""
        return [text.partition("=")[0].replace("-", "_") for text in self.over]


def sweeps_in(root: Path) -> list[Path]:
    """Return the folders of sweeps below a folder that came to something, by name."""
    try:
        found = [path for path in root.iterdir() if (path / SUMMARY).is_file() and not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(found)


def read_summary(folder: Path) -> Summary:
    """Return what a sweep came to.

    Raises:
        CheckpointError: if there is no summary, or it is damaged.
    """
    try:
        return _summary(folder.name, read_json(folder / SUMMARY, MOST))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"'{folder / SUMMARY}' cannot be read: {error}") from error


def _summary(name: str, kept: Mapping[str, Any]) -> Summary:
    over, trials = kept["over"][:_MOST_DIMENSIONS], kept["trials"][:_MOST_TRIALS]
    points = tuple(
        Point(int(one["number"]), _values(one["values"]), _number(one["figure"]), _text(one["state"])) for one in trials
    )
    best = kept["best"] and int(kept["best"]["number"])
    figures = (kept["winner"] or {"figures": []})["figures"][:_MOST_FIGURES]
    return Summary(
        name, f"{_text(kept['family'])} on {_text(kept['data'])}", tuple(map(_text, over)), _text(kept["measure"]),
        points, best if any(point.number == best for point in points) else None,
        tuple((_text(f["protocol"]), _text(f["metric"]), _number(f["value"]) or 0.0, _interval(f)) for f in figures),
    )  # fmt: skip


def _interval(figure: Mapping[str, Any]) -> str:
    ends = [_number(end) for end in figure["interval"] or ()]
    if len(ends) == 2 and None not in ends:
        return f"{ends[0]:.4g} to {ends[1]:.4g}"
    return "all alike" if len(figure.get("values", ())) > 1 else ""


def _values(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a trial: text or finite numbers."""
    return {_text(name): value if isinstance(value, str) else _number(value) for name, value in found.items()}


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e300:
        raise ValueError(f"a number is {str(value)[:60]!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {str(value)[:60]!r}")
    return value[:200]
