"""Pictures of time series, without a screen: paths, autocorrelation, and maps of windows in the plane.

Every function returns a `PIL.Image.Image`. Windows are (n, time, feature), NaN after the end of short ones, in any
units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_plot
from saddlepoint.metrics.series import autocorrelations
from saddlepoint.metrics.windows import as_windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REAL, _FAKE = "#7a7a7a", "#d95f02"
_MOST_FEATURES = 8
_MAPPED = 600
"""Windows of each kind on a map: t-SNE of twice as many takes a few seconds."""


def _figure(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * columns, 2.2 * rows), dpi=100, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _drawn(figure: Figure) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _both(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_windows(real, "real windows", 1), as_windows(fake, "samples", 1)
    if a.shape[1:] != b.shape[1:]:
        raise DataError(f"real windows are {a.shape[1:]} and samples {b.shape[1:]} (time, feature): make them equal")
    return a, b


def _names(names: Sequence[str], features: int) -> list[str]:
    return list(names) if len(names) == features else [f"feature {k}" for k in range(features)]


def names_of(names: Sequence[str], features: int) -> list[tuple[int, str]]:
    """Return the features that are drawn, by their numbers, with their names."""
    return list(enumerate(_names(names, features)))[:_MOST_FEATURES]


def paths(real: np.ndarray, fake: np.ndarray, names: Sequence[str] = (), *, columns: int = 12) -> Image.Image:
    """Draw windows beside one another: a line of pictures of real ones above one of samples, for each feature.

    Args:
        real, fake: windows; the first ``columns`` of each are shown, on one scale for each feature.
        names: of the features, with their units; empty: numbers.
        columns: windows of each kind.

    Raises:
        DataError: if shapes differ or values are not finite.
    """
    a, b = (x[:columns] for x in _both(real, fake))
    features = min(a.shape[2], _MOST_FEATURES)
    figure, grid = _figure(features, 2)
    for k, name in enumerate(_names(names, a.shape[2])[:features]):
        low, high = _range(a[..., k], b[..., k])
        for axes, x, colour, kind in zip(grid[k], (a, b), (_REAL, _FAKE), ("real", "generated"), strict=True):
            axes.plot(x[..., k].T, color=colour, linewidth=0.9, alpha=0.8)
            axes.set_ylim(low, high)
            axes.tick_params(labelsize=7)
            if k == 0:
                axes.set_title(kind, fontsize=9)
        grid[k][0].set_ylabel(for_plot(name), fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=8)
    return _drawn(figure)


def _range(*parts: np.ndarray) -> tuple[float, float]:
    values = np.concatenate([part[~np.isnan(part)] for part in parts])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def autocorrelation_plot(real: np.ndarray, fake: np.ndarray, names: Sequence[str] = ()) -> Image.Image:
    """Draw the mean autocorrelation within windows of real windows and samples, a picture for each feature.

    Args:
        real, fake: windows.
        names: of the features; empty: numbers.

    Raises:
        DataError: if shapes differ or values are not finite.
    """
    a, b = _both(real, fake)
    features = min(a.shape[2], _MOST_FEATURES)
    columns = min(4, features)
    figure, grid = _figure(-(-features // columns), columns)
    lags = max(1, a.shape[1] // 2)
    for k, axes in enumerate(grid.ravel()):
        axes.set_visible(k < features)
    for k, name in enumerate(_names(names, a.shape[2])[:features]):
        axes = grid.ravel()[k]
        for x, colour, kind in ((a, _REAL, "real"), (b, _FAKE, "generated")):
            axes.plot(
                range(1, lags + 1), np.nanmean(autocorrelations(x, lags)[..., k], 0), color=colour, label=kind,
                marker=".",
            )  # fmt: skip
        axes.axhline(0, color="#bbbbbb", linewidth=0.8)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(for_plot(name), fontsize=9)
        axes.set_xlabel("lag", fontsize=8)
        axes.tick_params(labelsize=7)
    grid[0, 0].legend(frameon=False, fontsize=8)
    return _drawn(figure)


def maps(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> Image.Image:
    """Draw real windows and samples as points of the plane: principal components of the real ones, and t-SNE of both.

    Each feature counts in standard deviations of its real values; past the end of a short window stands the mean. 600
    windows of each at most, evenly spaced in the order given.

    Args:
        real, fake: windows, 5 at least of each.
        seed: of t-SNE.

    Raises:
        DataError: if shapes differ, values are not finite, or there are fewer than 5 windows.
    """
    a, b = _both(real, fake)
    if min(len(a), len(b)) < 5:
        raise DataError(f"there are {len(a)} real windows and {len(b)} samples, but a map needs 5 of each")
    # Both take a second to import, which only this picture should pay.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    a, b = (x[np.unique(np.linspace(0, len(x) - 1, _MAPPED).round().astype(int))] for x in (a, b))
    middle, spread = np.nanmean(a, (0, 1)), np.nanstd(a, (0, 1))
    flat = [np.nan_to_num((x - middle) / np.where(spread > 0, spread, 1.0)).reshape(len(x), -1) for x in (a, b)]
    components = PCA(2, svd_solver="full").fit(flat[0])
    together = np.concatenate(flat)
    perplexity = min(30.0, (len(together) - 1) / 3)
    placed = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(together)
    figure, grid = _figure(1, 2)
    figure.set_size_inches(11.5, 4.8)
    pictures = (("principal components", components.transform(together)), ("t-SNE", placed))
    for axes, (title, points) in zip(grid[0], pictures, strict=True):
        for part, colour, kind in ((points[: len(a)], _REAL, "real"), (points[len(a) :], _FAKE, "generated")):
            axes.scatter(part[:, 0], part[:, 1], s=6, color=colour, alpha=0.5, linewidths=0, label=kind)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    grid[0, 0].legend(frameon=False, fontsize=8, markerscale=3)
    return _drawn(figure)
