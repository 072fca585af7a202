"""What the doctor holds samples against: rows of data as points along their principal axes.

Images and vectors are taken as they are (large images as means over blocks). Of windows of a series both levels and
steps in time are seen, so that a line as rough as no line of the data is noticed although its levels are right.

Held-out rows are the reference where they are more rows of what training rows are; else training rows are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.types import ended

AXES = 64  # principal axes of the data in which distances are taken
SIDE = 64  # pixels a side of the images that axes are taken of; larger ones are averaged over blocks
_VALUES = 2_048  # values of all rows that are in 64 bits at a time
NEIGHBOURS = 5  # A data row is covered if a sample is nearer than its 5th neighbour among the data rows
# Energy distance between training and held-out rows, as a share of the data's mean distance and in standard errors,
# above both of which held-out rows are no more rows of the same.
DRIFT, DRIFT_ERRORS = 0.02, 4.0
REPEATED = 0.5  # share of different rows among training rows below which they are a few rows, told again and again
AFTER_END = -3.0  # deviations from the mean at which what lies after a window's end is placed, so that lengths are seen

View = Callable[[Tensor], Tensor]
"""Samples (n, *sample) in the inside range to flat numbers (n, value)."""


@dataclass(frozen=True)
class Cloud:
    """Rows of data in some space, and the (n, n) distances among them."""

    rows: Tensor
    within: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Cloud:
        """Return the cloud of rows (n, axis)."""
        return cls(rows, distances(rows, rows))  # distances among the rows once: they serve every evaluation

    def energy(self, points: Tensor, among: Tensor | None = None) -> tuple[float, float]:
        """Return the energy distance to the rows as a share of their mean distance, and its standard error.

        Args:
            points: (m, axis) samples.
            among: (m, m) distances among them, if known.
        """
        among = distances(points, points) if among is None else among
        cross = distances(points, self.rows)  # (samples, rows)
        n, m = cross.shape  # samples, rows
        among_rows, within_rows = among.sum(1) / max(1, n - 1), self.within.sum(1) / max(1, m - 1)
        to_data, to_samples = cross.mean(1), cross.mean(0)
        scale = float(within_rows.mean())
        if scale == 0:
            return 0.0, 0.0
        # 2 E d(x, y) - E d(x, x') - E d(y, y') (Szekely and Rizzo 2013), unbiased: no sample is its own neighbour. The
        # error is that of the U-statistic's first-order (Hoeffding) projection.
        energy = 2 * to_data.mean() - among_rows.mean() - within_rows.mean()
        variance = (2 * (to_data - among_rows)).var() / n + (2 * (to_samples - within_rows)).var() / m
        return float(energy) / scale, math.sqrt(float(variance)) / scale


@dataclass(frozen=True)
class Axes:
    """The data's leading principal axes under some view.

    Attributes:
        view: makes samples flat.
        centre: mean of the training rows looked at, flat.
        axes: (values, axis) orthonormal; the identity where a sample has no more values than axes.
    """

    view: View
    centre: Tensor
    axes: Tensor

    @classmethod
    def of(cls, view: View, flat: Tensor) -> Axes:
        """Return the axes of training rows that are flat already: (n, value)."""
        centre = flat.mean(0)
        few = flat.shape[1] <= AXES  # then no rotation: distances are the same
        return cls(view, centre, torch.eye(flat.shape[1], device=flat.device) if few else _principal(flat - centre))

    def coordinates(self, flat: Tensor) -> Tensor:
        """Return the coordinates of rows that are flat already: (n, axis)."""
        return (flat - self.centre) @ self.axes  # (n, values) @ (values, axis)

    def project(self, x: Tensor) -> Tensor:
        """Return the coordinates of samples: (n, axis)."""
        return self.coordinates(self.view(x))


@dataclass(frozen=True)
class Reference:
    """What samples are held against.

    Attributes:
        axes: where coordinates are taken.
        cloud: (n, axis) data rows.
        radius: distance of each row's 5th neighbour among them.
        classes: (class, axis) class means, or None.
        shares: share of the rows of each class, or None.
    """

    axes: Axes
    cloud: Cloud
    radius: Tensor
    classes: Tensor | None = None
    shares: Tensor | None = None

    @classmethod
    def of(cls, axes: Axes, cloud: Cloud, classes: Tensor | None = None, shares: Tensor | None = None) -> Reference:
        """Return the reference of rows in these coordinates."""
        k = min(NEIGHBOURS, len(cloud.rows) - 1)
        radius = cloud.within.sort(1).values[:, k] if k > 0 else cloud.within[:, 0]  # column 0 is the row itself
        return cls(axes, cloud, radius, classes, shares)

    def project(self, x: Tensor) -> Tensor:
        """Return the coordinates of samples: (n, axis)."""
        return self.axes.project(x)


def drifts(held_out: Cloud, training: Tensor) -> bool:
    """Whether held-out rows are other than training rows (n, axis), beyond the scatter of so few."""
    # A generator must not be blamed for what it was never shown: of a series' end, when it was shown the beginning.
    distance, error = held_out.energy(training)
    return distance > max(DRIFT, DRIFT_ERRORS * error)


def repeats(rows: Tensor) -> bool:
    """Whether most rows (n, value) are copies of others; what such rows lack of the data is the trouble itself."""
    return len(rows.unique(dim=0)) < REPEATED * len(rows)


def coarse(x: Tensor) -> Tensor:
    """Return images, vectors or windows flat: larger images as means over blocks, what lies after an end as 0."""
    if x.ndim == 4 and max(x.shape[2:]) > SIDE:
        # Means over blocks: shapes and colours stay, and the Gram matrix is of thousands of values, not millions.
        x = F.avg_pool2d(x, -(-max(x.shape[2:]) // SIDE))
    return x.masked_fill(ended(x), 0.0).flatten(1)


class Windows:
    """Windows of series in the deviations of training windows.

    Args:
        rows: (n, time, feature) training windows.
        known: how many features, the last ones, are told and not generated.
    """

    def __init__(self, rows: Tensor, known: int) -> None:
        self.features = rows.shape[2] - known  # what a window is told (its calendar) is no work of G's
        x = rows[..., : self.features]
        # Each feature by its own deviation: a price in thousands would else be all that a distance sees. NaN: no step.
        flat, steps = x.flatten(0, 1), (x[:, 1:] - x[:, :-1]).flatten(0, 1)
        flat, steps = flat[flat.isfinite().all(1)], steps[steps.isfinite().all(1)]
        self.mean, self.deviation = flat.mean(0), _or_one(flat.std(0, correction=0))
        self.step_deviation = _or_one(steps.std(0, correction=0)) if len(steps) else torch.ones_like(self.mean)

    def levels(self, x: Tensor) -> Tensor:
        """Return levels, flat: (n, time * feature)."""
        found = (x[..., : self.features] - self.mean) / self.deviation
        return found.nan_to_num(AFTER_END).flatten(1)

    def steps(self, x: Tensor) -> Tensor:
        """Return the steps from one time to the next, flat: (n, (time - 1) * feature)."""
        x = x[..., : self.features]
        return ((x[:, 1:] - x[:, :-1]) / self.step_deviation).nan_to_num(0.0).flatten(1)


def _or_one(deviation: Tensor) -> Tensor:
    """Return the deviations; of a feature that does not vary, 1: whatever it does counts in its own units."""
    return torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))  # (feature,)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances (n, m) between rows, by one matrix product; exactly 0 on the diagonal of a with a."""
    # |a|^2 + |b|^2 - 2 ab; cancellation leaves small negative numbers, and no exact 0 on the diagonal.
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.t())
    found = squares.clamp_min_(0).sqrt_()
    return found.fill_diagonal_(0) if a is b else found


def _principal(centred: Tensor) -> Tensor:
    """Return the leading principal axes (values, axis) from the rows' Gram matrix."""
    # X X' (rows, rows) has the eigenvalues of X'X, which may be millions wide; its axes are X'u / sqrt(l).
    values, vectors = torch.linalg.eigh((centred @ centred.t()).cpu().double())
    kept = values[-AXES:].flip(0).clamp_min(1e-12)
    leading = vectors[:, -AXES:].flip(1)
    # Some values of all rows at a time: in 64 bits the rows of large images are 100 MB.
    parts = [part.cpu().double().t() @ leading / kept.sqrt() for part in centred.split(_VALUES, 1)]
    return torch.cat(parts).float().to(centred.device)
