"""A sweep as a picture: what each trial came to, in the order of the trials and over each option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from saddlepoint.core.quoting import for_plot
from saddlepoint.figures.plots import drawn, panels

_COMPLETE, _OTHER, _BEST = "#3b7dd8", "#9a9a9a", "#d95f02"


class Point(NamedTuple):
    """A trial: its number, the values of the options by name, the figure (None: there is none), the state."""

    number: int
    values: Mapping[str, Any]
    figure: float | None
    state: str


def draw_trials(trials: Sequence[Point], over: Sequence[str], measure: str, best: int | None = None) -> Image.Image:
    """Draw a panel with the figures of all trials in order, and one for each option.

    Args:
        trials: in order; those at work are left out.
        over: the options, as they are written after ``--over``: ``lr=0.0001..0.01:log``.
        measure: what the figure is, lower is better.
        best: number of the best trial, which has another colour.
    """
    names = [text.partition("=")[0].replace("-", "_") for text in over]
    trials = [trial for trial in trials if trial.state != "running"]
    figure, axes = panels(1, 1 + len(names), (3.2, 2.6))
    finished = [trial.figure for trial in trials if trial.figure is not None]
    # What has no figure stands above all that have one.
    above = (max(finished) + 0.1 * (max(finished) - min(finished) or 1.0)) if finished else 1.0
    for panel, name, text in zip(axes, ("", *names), ("", *over), strict=True):
        for trial in trials:
            _mark(panel, trial.values.get(name) if name else trial.number, trial, above, trial.number == best)
        panel.set_xlabel(for_plot(name or "trial"), fontsize=8)
        if text.endswith(":log"):
            panel.set_xscale("log")
            panel.tick_params(which="minor", labelbottom=False)
        if finished and min(finished) > 0 and max(finished) >= 10 * min(finished):
            panel.set_yscale("log")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    if finished:
        least = [min(finished[:count]) for count in range(1, len(finished) + 1)]
        numbers = [trial.number for trial in trials if trial.figure is not None]
        axes[0].step(numbers, least, where="post", color=_BEST, linewidth=1.0)
    figure.suptitle(for_plot(measure, 100), fontsize=8)
    return drawn(figure)


def _mark(panel: Any, value: Any, trial: Point, above: float, best: bool) -> None:
    """Put a point where a trial has a figure, a cross above where it has none."""
    if value is None:
        return
    place = for_plot(value) if isinstance(value, str) else value
    colour = _BEST if best else _COMPLETE if trial.figure is not None else _OTHER
    mark = "x" if trial.figure is None else "*" if best else "o"
    height = above if trial.figure is None else trial.figure
    panel.plot([place], [height], mark, color=colour, markersize=8 if best else 4)
