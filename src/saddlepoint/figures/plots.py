"""Plots: windows of series, a panel for each feature, samples over real windows in grey; vectors as points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_plot

SHOWN = 8
"""Windows drawn in a panel."""

MOST_PANELS = 12
MOST_COLUMNS = 6
_SHOWN_POINTS = 4_000
_GREY, _COLOUR = "#9a9a9a", "#d95f02"


def spread(x: np.ndarray, n: int) -> np.ndarray:
    """Return up to ``n`` rows, evenly spread."""
    return np.asarray(x[np.linspace(0, len(x) - 1, min(n, len(x))).round().astype(np.int64)])


def paths(samples: np.ndarray, data: np.ndarray, names: Sequence[str] = ()) -> Image.Image:
    """Draw the first windows of samples over those of the data: a panel for each of the first 12 features.

    Args:
        samples: (n, time, feature); NaN after the end of short windows.
        data: (m, time, feature) in the same units; may be empty.
        names: of the features; empty: none are written.

    Raises:
        DataError: if a window of the samples has no finite value, or shapes differ.
    """
    _check(samples, data)
    features = min(samples.shape[2], MOST_PANELS)
    columns = min(3, features)
    figure, axes = panels(-(-features // columns), columns)
    for feature, panel in enumerate(axes[:features]):
        for window in data[:SHOWN]:
            panel.plot(window[:, feature], color=_GREY, linewidth=0.9, alpha=0.7)
        for window in samples[:SHOWN]:
            panel.plot(window[:, feature], color=_COLOUR, linewidth=1.0, alpha=0.85)
        if names:
            panel.set_title(for_plot(names[feature]), fontsize=8)
    for panel in axes[features:]:
        panel.set_axis_off()
    return drawn(figure)


def rows(windows: np.ndarray, names: Sequence[str], labels: Sequence[str] = ()) -> Image.Image:
    """Draw rows of panels, one for each of the first 6 features, with several windows in each.

    Args:
        windows: (row, window, time, feature); the first window of a row is grey, the last in full colour.
        names: of the features, above the first row.
        labels: of the windows, as a legend; empty: none.

    Raises:
        DataError: if a window has no finite value.
    """
    _check(windows.reshape(-1, *windows.shape[2:]), windows[0, :0])
    features, count = min(windows.shape[3], MOST_COLUMNS), windows.shape[1]
    figure, axes = panels(len(windows), features)
    for place, panel in enumerate(axes):
        row, feature = divmod(place, features)
        for number, window in enumerate(windows[row]):
            share = number / max(1, count - 1)
            colour = tuple((1 - share) * np.array([0.6, 0.6, 0.6]) + share * np.array([0.85, 0.37, 0.01]))
            panel.plot(
                window[:, feature], color=colour, linewidth=1.0, label=for_plot(labels[number]) if labels else None
            )
        if row == 0:
            panel.set_title(for_plot(names[feature]), fontsize=8)
    if labels:
        axes[0].legend(fontsize=6)
    return drawn(figure)


def losses(found: np.ndarray, means: np.ndarray) -> Image.Image:
    """Draw how errors fall over the steps of a search, on a logarithmic axis: a line for each image.

    Args:
        found: (steps, n), positive.
        means: (n,) errors of the mean image, which broken lines show.
    """
    figure, (panel,) = panels(1, 1, (5.0, 3.0))
    steps = np.arange(1, len(found) + 1)
    for number, (line, mean) in enumerate(zip(found.T, means, strict=True)):
        colour = f"C{number % 10}"
        panel.plot(steps, line, color=colour, linewidth=1.0)
        panel.axhline(mean, color=colour, linewidth=0.7, linestyle="--")
    panel.set_yscale("log")
    panel.set_xlabel("step", fontsize=8)
    panel.set_title("mean squared error (broken: of the mean image)", fontsize=8)
    return drawn(figure)


def panels(rows: int, columns: int, side: tuple[float, float] = (2.6, 1.5)) -> tuple[Any, list[Any]]:
    """Return a figure of matplotlib and its panels, row by row; ``side``: of one, width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side[0] * columns, side[1] * rows + 0.1), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes:
        panel.tick_params(labelsize=6)
    return figure, axes


def drawn(figure: Any) -> Image.Image:
    """Return a figure of matplotlib as a picture."""
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def _check(samples: np.ndarray, data: np.ndarray) -> None:
    if samples.ndim != 3 or 0 in samples.shape or data.shape[1:] != samples.shape[1:]:
        raise DataError(
            f"samples have shape {samples.shape} and the data {data.shape}, but paths need windows (n, time, feature)"
        )
    broken = int((~np.isfinite(samples[:, 0])).any(1).sum() + np.isinf(samples).any((1, 2)).sum())
    if broken:
        raise DataError(f"{broken:,} of {len(samples):,} samples are not finite: the generator has diverged")


def scatter(
    samples: Tensor | np.ndarray, data: np.ndarray | None = None, names: tuple[str, str] = ("data", "samples")
) -> Image.Image:
    """Plot vector samples over real data: histograms for one feature, points of the first two for more.

    Args:
        samples: (n, feature) in the units of the data.
        data: (m, feature) real vectors, or None. At most the first 4,000 points of each are drawn.
        names: of data and samples in the legend.

    Raises:
        DataError: if samples are not vectors, not finite, or differ from the data in shape.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fake = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else np.asarray(samples)
    if fake.ndim != 2 or 0 in fake.shape or (data is not None and data.shape[1:] != fake.shape[1:]):
        other = "" if data is None else f" and the data {data.shape}"
        raise DataError(f"samples have shape {fake.shape}{other}, but a scatter plot needs vectors (n, feature)")
    broken = int((~np.isfinite(fake)).any(1).sum())
    if broken:
        raise DataError(f"{broken:,} of {len(fake):,} samples are not finite: the generator has diverged")
    figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = [(names[0], "#9a9a9a", data), (names[1], "#d95f02", fake)]
    groups = [(for_plot(name), colour, x[:_SHOWN_POINTS]) for name, colour, x in drawn if x is not None]
    if fake.shape[1] == 1:
        # The view follows the data where there are some: a few far samples must not squeeze it.
        low, high = _view(groups[0][2][:, 0])
        for name, colour, x in groups:
            inside = np.clip(x[:, 0], low, high)
            axes.hist(inside, bins=60, range=(low, high), density=True, color=colour, alpha=0.6, label=name)
    else:
        for name, colour, x in groups:
            axes.scatter(x[:, 0], x[:, 1], s=4 if len(x) > 1 else 80, color=colour, alpha=0.5, linewidths=0, label=name)
        axes.set_xlim(_view(groups[0][2][:, 0]))
        axes.set_ylim(_view(groups[0][2][:, 1]))
        axes.set_aspect("equal", adjustable="box")
    axes.legend(loc="upper right", markerscale=4 if len(fake) > 1 else 1)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _view(x: np.ndarray) -> tuple[float, float]:
    """Range of ``x`` with a margin of a quarter on both sides."""
    low, high = float(x.min()), float(x.max())
    margin = (high - low) / 4 or 1.0
    return low - margin, high + margin
