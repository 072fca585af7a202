"""A sweep as a picture: what each trial came to, in the order of the trials and over each option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from saddlepoint.core.quoting import for_plot
from saddlepoint.figures.plots import drawn, panels

_COMPLETE, _OTHER, _BEST = "#3b7dd8", "#9a9a9a", "#d95f02"

Point = tuple[Mapping[str, Any], float | None, str]
"""Values of the options by name, the figure (None: there is none), the state."""


def draw_trials(trials: Sequence[Point], over: Sequence[str], measure: str, best: int | None = None) -> Image.Image:
    """Draw a panel with the figures of all trials in order, and one for each option.

    Args:
        trials: in order.
        over: the options, as they are written after ``--over``: ``lr=0.0001..0.01:log``.
        measure: what the figure is, lower is better.
        best: number of the best trial, which has another colour.
    """
    names = [text.partition("=")[0].replace("-", "_") for text in over]
    figure, axes = panels(1, 1 + len(names), (3.2, 2.6))
    finished = [figure for _, figure, _ in trials if figure is not None]
    # What has no figure stands above all that have one.
    above = (max(finished) + 0.1 * (max(finished) - min(finished) or 1.0)) if finished else 1.0
    for panel, name, text in zip(axes, ("", *names), ("", *over), strict=True):
        values = [number if not name else point[0].get(name) for number, point in enumerate(trials)]
        _panel(panel, values, trials, above, best)
        panel.set_xlabel(for_plot(name or "trial"), fontsize=8)
        if text.endswith(":log"):
            panel.set_xscale("log")
            panel.tick_params(which="minor", labelbottom=False)
        if finished and min(finished) > 0 and max(finished) >= 10 * min(finished):
            panel.set_yscale("log")
    if finished:
        least = [min(finished[:count]) for count in range(1, len(finished) + 1)]
        numbers = [number for number, point in enumerate(trials) if point[1] is not None]
        axes[0].step(numbers, least, where="post", color=_BEST, linewidth=1.0)
    figure.suptitle(for_plot(measure, 100), fontsize=8)
    return drawn(figure)


def _panel(panel: Any, values: Sequence[Any], trials: Sequence[Point], above: float, best: int | None) -> None:
    """Put a mark for each trial: a point where it has a figure, a cross above where it has none."""
    for number, (value, (_, figure, _)) in enumerate(zip(values, trials, strict=True)):
        if value is None:
            continue
        place = for_plot(value) if isinstance(value, str) else value
        colour = _BEST if number == best else _COMPLETE if figure is not None else _OTHER
        mark = "x" if figure is None else "*" if number == best else "o"
        panel.plot(
            [place], [above if figure is None else figure], mark, color=colour, markersize=8 if number == best else 4
        )
