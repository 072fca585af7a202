"""The doctor's signs: a few numbers about samples, data and the discriminator, taken at reports.

They are computed on the training device from fixed rows and fixed inputs of the generator, without gradients, and
draw no random number that training draws. Formulas and thresholds are explained in docs/doctor.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint._types import ended, from_bytes
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.engine.runtime import pieces, stream
from saddlepoint.engine.training import TrainingState
from saddlepoint.family import Family

SAMPLES = 512
"""Samples of G, and rows of data, in an exam."""

ROWS_OF_D = 256
"""Training rows, held-out rows and samples on which D's logits are compared."""

LEAST_ROWS = 10
"""Of fewer held-out rows training rows take the place: neither spread nor neighbours can be told of one or two."""

AXES = 64
"""Principal axes of the data in which distances are taken."""

SIDE = 64
"""Pixels a side of the images that axes are taken of; larger ones are averaged over blocks."""

NEIGHBOURS = 5
"""A data row is covered if a sample is nearer than its 5th neighbour among the data rows."""

MOST_CLASSES = 100
"""Labelled data with more classes has no mode sign: an exam has too few samples for it."""

CLASSIFIED = 256
"""Samples of G, and rows of data, that the classifier looks at when it is asked."""

Classifier = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Samples in the inside range (n, *sample) to features (n, feature) and class probabilities (n, class)."""


@dataclass(frozen=True)
class Cloud:
    """Rows of data in some space, and the (n, n) distances among them."""

    rows: Tensor
    within: Tensor

    def energy(self, points: Tensor, among: Tensor | None = None) -> tuple[float, float]:
        """Return the energy distance to the rows as a share of their mean distance, and its standard error.

        An unbiased U-statistic (Szekely and Rizzo 2013); the error is that of its first-order projection.

        Args:
            points: (m, axis) samples.
            among: (m, m) distances among them, if known.
        """
        among = distances(points, points) if among is None else among
        cross = distances(points, self.rows)
        n, m = cross.shape
        among_rows, within_rows = among.sum(1) / max(1, n - 1), self.within.sum(1) / max(1, m - 1)
        to_data, to_samples = cross.mean(1), cross.mean(0)
        scale = float(within_rows.mean())
        if scale == 0:
            return 0.0, 0.0
        energy = 2 * to_data.mean() - among_rows.mean() - within_rows.mean()
        variance = (2 * (to_data - among_rows)).var() / n + (2 * (to_samples - within_rows)).var() / m
        return float(energy) / scale, math.sqrt(float(variance)) / scale


@dataclass(frozen=True)
class Reference:
    """What samples are held against, in coordinates of the data's principal axes.

    Attributes:
        centre: mean of the training rows looked at, flat.
        axes: (values, axis) orthonormal; the identity where a sample has no more values than axes.
        cloud: (n, axis) held-out rows (training rows where there are none).
        radius: distance of each row's 5th neighbour among them.
        classes: (class, axis) class means, or None.
        shares: share of the rows of each class, or None.
    """

    centre: Tensor
    axes: Tensor
    cloud: Cloud
    radius: Tensor
    classes: Tensor | None
    shares: Tensor | None

    def project(self, x: Tensor) -> Tensor:
        """Return the coordinates of samples: (n, axis)."""
        return (coarse(x) - self.centre) @ self.axes


class Examiner:
    """Takes the signs of one run.

    Args:
        dataset: the data being trained on; ``valid`` rows serve as held-out ones, if there are any.
        seed: chooses rows and inputs.
        device: where training runs.
        classify: a trained classifier of this data, if there is one.
    """

    def __init__(
        self, dataset: Dataset, seed: int, device: torch.device | str, classify: Classifier | None = None
    ) -> None:
        self.seed, self.device, self.classify = seed, torch.device(device), classify
        train = dataset.splits["train"]
        self.shape = tuple(train.x.shape[1:])
        held_out = dataset.splits.get("valid")
        if held_out is not None and len(held_out) < LEAST_ROWS:
            held_out = None
        rng = np.random.default_rng((seed, 2014))
        self.train_rows = self._take(train, ROWS_OF_D, rng)
        self.held_out_rows = None if held_out is None else self._take(held_out, ROWS_OF_D, rng)
        self.reference = self._reference(train, held_out or train, len(dataset.classes), rng)
        self.featured: Cloud | None = None
        if classify is not None:
            features = classify(self._inside(self._take(held_out or train, CLASSIFIED, rng)[0]))[0]
            self.featured = Cloud(features, distances(features, features))

    def _take(self, split: Split, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Return up to ``n`` rows as they are stored, and their labels, both on the CPU."""
        index = np.sort(rng.permutation(len(split))[:n])
        labels = None if split.labels is None else torch.from_numpy(np.array(split.labels[index], dtype=np.int64))
        return torch.from_numpy(np.array(split.x[index])), labels

    def _inside(self, rows: Tensor) -> Tensor:
        """Return rows as the networks see them, on the device."""
        return from_bytes(rows.to(self.device))

    def _coarse(self, rows: Tensor) -> Tensor:
        """Return what axes are taken of, on the device."""
        return torch.cat([coarse(self._inside(rows[part])) for part in pieces(0, len(rows), self.shape)])

    def _reference(self, train: Split, held_out: Split, classes: int, rng: np.random.Generator) -> Reference:
        many, labels = self._take(train, 2 * SAMPLES, rng)
        flat = self._coarse(many)
        centre = flat.mean(0)
        if flat.shape[1] <= AXES:
            axes = torch.eye(flat.shape[1], device=self.device)
        else:
            axes = _principal_axes(flat - centre, AXES)
        held, row_labels = self._take(held_out, SAMPLES, rng)
        rows = (self._coarse(held) - centre) @ axes
        within = distances(rows, rows)
        k = min(NEIGHBOURS, len(rows) - 1)
        radius = within.sort(1).values[:, k] if k > 0 else within[:, 0]
        means = shares = None
        single = labels is not None and labels.ndim == 1
        if single and labels is not None and row_labels is not None and 1 < classes <= MOST_CLASSES:
            points = torch.cat([(flat - centre) @ axes, rows])
            chosen = torch.cat([labels, row_labels]).to(self.device)
            counts = torch.zeros(classes, device=self.device).index_add_(0, chosen, torch.ones_like(points[:, 0]))
            if bool((counts > 0).all()):
                sums = torch.zeros(classes, points.shape[1], device=self.device).index_add_(0, chosen, points)
                means = sums / counts[:, None]
                shares = _histogram(rows, means)
        return Reference(centre, axes, Cloud(rows, within), radius, means, shares)

    @torch.no_grad()
    def examine(self, state: TrainingState, gradients: Mapping[str, float], thorough: bool = True) -> dict[str, float]:
        """Return the signs of the present state.

        Args:
            state: left as it is, in training mode.
            gradients: norms of the players' gradients in the step just made, by their names as signs.
            thorough: ask the classifier too, if there is one.
        """
        family = state.family
        family.eval()
        try:
            points, logits, seen = self._samples(family)
            signs = dict(gradients)
            signs |= self._of_samples(points)
            signs |= self._of_discriminator(family, logits)
            if thorough:
                signs |= self._of_features(seen)
            if state.family.config.ema_beta(state.progress.nimg) > 0:
                with state.averaged() as averaged:
                    smooth = self._places(averaged)
                signs["distance"], signs["distance error"] = self.reference.cloud.energy(smooth)
            else:
                signs["distance"], signs["distance error"] = signs["raw distance"], signs["raw distance error"]
        finally:
            family.train()
        return {name: _rounded(number) for name, number in signs.items()}

    def _drawn(self, family: Family) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Give samples in pieces, each with the number of the first and their labels.

        The inputs are the same in every exam: differences are G's, not the draw's.
        """
        inputs = family.sample_inputs(SAMPLES, stream("cpu", "exam", self.seed)).to(self.device)
        labels = family.sample_labels(SAMPLES, stream("cpu", "exam-labels", self.seed))
        labels = None if labels is None else labels.to(self.device)
        noise = stream(self.device, "exam-noise", self.seed)
        for part in pieces(0, SAMPLES, self.shape):
            asked = None if labels is None else labels[part]
            yield part.start, family.generate(inputs[part], asked, generator=noise), asked

    def _places(self, family: Family) -> Tensor:
        """Return the coordinates of samples."""
        return torch.cat([self.reference.project(fake) for _, fake, _ in self._drawn(family)])

    def _samples(self, family: Family) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return coordinates of samples, D's logits of the first `ROWS_OF_D`, and what a classifier shall look at."""
        points, logits, seen = list[Tensor](), list[Tensor | None](), [torch.empty(0, *self.shape, device=self.device)]
        for start, fake, asked in self._drawn(family):
            points.append(self.reference.project(fake))
            if (judged := ROWS_OF_D - start) > 0:
                logits.append(_logits(family, fake[:judged], None if asked is None else asked[:judged]))
            if self.classify is not None and start < CLASSIFIED:
                seen.append(fake[: CLASSIFIED - start])
        return torch.cat(points), _joined(logits), torch.cat(seen)

    def _of_samples(self, points: Tensor) -> dict[str, float]:
        """Diversity, reach, centre, coverage, modes and distance of the samples against the data rows."""
        reference = self.reference
        if not bool(reference.cloud.within.any()):
            return {"raw distance": 0.0, "raw distance error": 0.0}
        among = distances(points, points)
        data_nearest = _nearest(reference.cloud.within)
        spread = reference.cloud.rows.square().sum(1).mean().sqrt()
        centre = points.mean(0)[:2] / reference.cloud.rows.std(0)[:2].clamp_min(1e-12)
        cross = distances(reference.cloud.rows, points)
        signs = {
            "spread": _mean(among) / _mean(reference.cloud.within),
            "nearest": _nearest(among).mean() / data_nearest.mean(),
            "rank": _participation(points) / _participation(reference.cloud.rows),
            "reach": points.square().sum(1).mean().sqrt() / spread,
            "coverage": (cross.amin(1) <= reference.radius).float().mean(),
        }
        found = {"axes": float(points.shape[1])} | {name: float(value) for name, value in signs.items()}
        found |= {f"centre {axis}": value for axis, value in enumerate(centre.tolist(), start=1)}
        if reference.classes is not None and reference.shares is not None:
            histogram = _histogram(points, reference.classes)
            found["modes"] = float(_effective(histogram) / _effective(reference.shares))
            found["modes hit"] = float(((histogram > reference.shares / 4) & (reference.shares > 0)).sum()) / float(
                (reference.shares > 0).sum()
            )
        found["raw distance"], found["raw distance error"] = reference.cloud.energy(points, among)
        return found

    def _of_discriminator(self, family: Family, fakes: Tensor | None) -> dict[str, float]:
        """How well D's logits, without dropout, order training rows, held-out rows and samples."""
        real = None if fakes is None else self._judged(family, *self.train_rows)
        if real is None or fakes is None:
            return {}
        signs = {"separation": order(real, fakes), "logit scale": float(torch.cat([real, fakes]).abs().mean())}
        held_out = None if self.held_out_rows is None else self._judged(family, *self.held_out_rows)
        if held_out is not None:
            signs["memorising"] = order(real, held_out)
        return signs

    def _judged(self, family: Family, rows: Tensor, labels: Tensor | None) -> Tensor | None:
        """Return D's logits of data rows, if it gives any."""
        found = list[Tensor | None]()
        for part in pieces(0, len(rows), self.shape):
            asked = None if labels is None else labels[part].to(self.device)
            found.append(_logits(family, self._inside(rows[part]), asked))
        return _joined(found)

    def _of_features(self, seen: Tensor) -> dict[str, float]:
        """What the classifier sees, if there is one: the distance in its features, and classes."""
        if self.classify is None or self.featured is None:
            return {}
        features, probabilities = self.classify(seen)
        histogram = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).cpu().double()
        return {
            "raw feature distance": self.featured.energy(features)[0],
            "classes": float(_effective(histogram / histogram.sum())) / probabilities.shape[1],
            "confidence": float(probabilities.amax(1).mean()),
        }


def coarse(x: Tensor) -> Tensor:
    """Return what axes are taken of, flat: what lies after a window's end as 0, larger images as means over blocks."""
    if x.ndim == 4 and max(x.shape[2:]) > SIDE:
        x = F.avg_pool2d(x, -(-max(x.shape[2:]) // SIDE))
    return x.masked_fill(ended(x), 0.0).flatten(1)


def _logits(family: Family, x: Tensor, labels: Tensor | None) -> Tensor | None:
    return family.logits(x, labels if family.classes else None)


def _joined(logits: Sequence[Tensor | None]) -> Tensor | None:
    """Return the logits of all pieces; None where D gives none."""
    given = [piece for piece in logits if piece is not None]
    return torch.cat(given) if given else None


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances (n, m) between rows, by one matrix product; exactly 0 on the diagonal of a with a."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.t())
    found = squares.clamp_min_(0).sqrt_()
    return found.fill_diagonal_(0) if a is b else found


def order(high: Tensor, low: Tensor) -> float:
    """Return P(h > l) + P(h = l) / 2 for independent draws (the area under the ROC curve); 1/2: no difference."""
    differences = high[:, None] - low[None]
    above, equal = (sign.cpu().double().mean() for sign in (differences > 0, differences == 0))
    return float(above + equal / 2)


def _principal_axes(centred: Tensor, count: int) -> Tensor:
    """Return the leading principal axes (values, axis) from the rows' Gram matrix."""
    values, vectors = torch.linalg.eigh((centred @ centred.t()).cpu().double())
    kept = values[-count:].flip(0).clamp_min(1e-12)
    axes = centred.cpu().double().t() @ vectors[:, -count:].flip(1) / kept.sqrt()
    return axes.float().to(centred.device)


def _mean(table: Tensor) -> Tensor:
    """Mean distance between different rows."""
    n = len(table)
    return table.sum() / max(1, n * (n - 1))


def _nearest(table: Tensor) -> Tensor:
    """Distance of each row's nearest other row."""
    return (table + torch.diag(table.new_full((len(table),), math.inf))).amin(1)


def _participation(points: Tensor) -> Tensor:
    """(sum of the covariance's eigenvalues)^2 / sum of their squares: how many axes carry the variance."""
    centred = points - points.mean(0)
    covariance = centred.t() @ centred / len(points)
    return covariance.trace().square() / covariance.square().sum().clamp_min(1e-30)


def _histogram(points: Tensor, means: Tensor) -> Tensor:
    """Share of the points nearest to each class mean, on the CPU."""
    return torch.bincount(distances(points, means).argmin(1), minlength=len(means)).cpu().double() / len(points)


def _effective(shares: Tensor) -> Tensor:
    """exp(entropy): the number of equally frequent classes with the same entropy."""
    return torch.special.entr(shares).sum().exp()


def _rounded(number: float) -> float:
    """Six significant digits; the log needs no more. A sign that is not finite is told as a very large number."""
    return float(f"{number:.6g}") if math.isfinite(number) else 1e30
