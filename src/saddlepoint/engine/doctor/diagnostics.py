"""The doctor's indicators: a few numbers about samples, data and the discriminator, taken at reports.

They are computed on the training device from fixed rows and fixed inputs of the generator, without gradients, and
draw no random number that training draws. Formulas and thresholds are explained in docs/doctor.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.types import from_bytes, from_uint16
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.engine.doctor import reference as refs
from saddlepoint.engine.doctor.reference import Axes, Cloud, Reference, View, Windows, distances
from saddlepoint.engine.machine.runtime import pieces, stream
from saddlepoint.engine.training import TrainingState
from saddlepoint.family import Family
from saddlepoint.family.capabilities import DiscriminatorLogits, draw_labels

SAMPLES = 512  # samples of G, and rows of data, in an evaluation
ROWS_OF_D = 256  # training rows, held-out rows and samples on which D's logits are compared
# Of fewer held-out rows training rows take the place: neither spread nor neighbours can be told of one or two.
LEAST_ROWS = 10
MOST_CLASSES = 100  # labelled data with more classes gets no "modes": an evaluation has too few samples for it
CLASSIFIED = 256  # samples of G, and rows of data, that the classifier looks at when it is asked

Classifier = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Samples in the inside range (n, *sample) to features (n, feature) and class probabilities (n, class)."""


@dataclass(frozen=True)
class Drawn:
    """What an evaluation keeps of its samples.

    Attributes:
        points: (n, axis) coordinates.
        steps: of windows, their steps in time, flat; None for other data.
        logits: D's, of the first `ROWS_OF_D`; None where D gives none.
        images: the first ones, for a classifier; empty without one.
    """

    points: Tensor
    steps: Tensor | None
    logits: Tensor | None
    images: Tensor


class Evaluator:
    """Takes the indicators of one run.

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
        rng = np.random.default_rng((seed, 2014))  # of the doctor alone: training's draws are the same without it
        self.train_rows = self._take(train, ROWS_OF_D, rng)
        self.held_out_rows = None if held_out is None else self._take(held_out, ROWS_OF_D, rng)
        self._set_reference(train, held_out, dataset, rng)
        if self.drifts:
            self.held_out_rows = None  # D may well prefer the rows of its own time to those of another
        self.featured: Cloud | None = None
        if classify is not None:
            rows = train if held_out is None or self.drifts else held_out
            self.featured = Cloud.of(classify(self._inside(self._take(rows, CLASSIFIED, rng)[0]))[0])

    def _take(self, split: Split, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Return up to ``n`` rows as they are stored, and their labels, both on the CPU."""
        index = np.sort(rng.permutation(len(split))[:n])  # sorted: rows of a mapped file are read from front to back
        labels = None if split.labels is None else torch.from_numpy(np.array(split.labels[index], dtype=np.int64))
        return torch.from_numpy(np.array(split.x[index])), labels

    def _inside(self, rows: Tensor) -> Tensor:
        """Return rows as the networks see them, on the device."""
        if rows.dtype == torch.uint16:  # which not every device knows
            return from_uint16(rows.view(torch.int16).to(self.device))
        return from_bytes(rows.to(self.device))

    def _flat(self, rows: Tensor, view: View) -> Tensor:
        """Return rows as they are stored as flat numbers, on the device."""
        # In pieces, each made flat before the next: 1,024 large images as floats would fill the memory.
        return torch.cat([view(self._inside(rows[part])) for part in pieces(0, len(rows), self.shape)])

    def _set_reference(self, train: Split, held_out: Split | None, dataset: Dataset, rng: np.random.Generator) -> None:
        """Choose the data rows that samples are held against."""
        many, labels = self._take(train, 2 * SAMPLES, rng)
        self.windows = Windows(self._inside(many), dataset.spec.known) if dataset.modality == "sequence" else None
        view = refs.coarse if self.windows is None else self.windows.levels
        flat = self._flat(many, view)
        axes = Axes.of(view, flat)  # from training rows alone: held-out rows must not shape what they are measured by
        held, row_labels = self._take(held_out or train, SAMPLES, rng)
        cloud, points = Cloud.of(axes.coordinates(self._flat(held, view))), axes.coordinates(flat)
        # Of other draws than those above, so that what else is drawn stays as it is where there is no drift.
        self.drifts = False
        if held_out is not None:
            others, other_labels = self._take(train, SAMPLES, np.random.default_rng((self.seed, 2013)))
            drawn = self._flat(others, view)
            coordinates = axes.coordinates(drawn)
            self.drifts = (self.windows is not None or not refs.repeats(drawn)) and refs.drifts(cloud, coordinates)
            if self.drifts:
                held, row_labels, cloud = others, other_labels, Cloud.of(coordinates)
        means = shares = None
        if labels is not None and row_labels is not None and labels.ndim == 1:
            together = torch.cat([points, cloud.rows]), torch.cat([labels, row_labels]).to(self.device)
            means = _class_means(*together, len(dataset.classes))
            shares = None if means is None else _histogram(cloud.rows, means)
        self.reference = Reference.of(axes, cloud, means, shares)
        self.steps: Reference | None = None
        if self.windows is not None:
            step_axes = Axes.of(self.windows.steps, self._flat(many, self.windows.steps))
            steps = step_axes.coordinates(self._flat(held, self.windows.steps))
            self.steps = Reference.of(step_axes, Cloud.of(steps))

    @torch.no_grad()
    def evaluate(self, state: TrainingState, gradients: Mapping[str, float], thorough: bool = True) -> dict[str, float]:
        """Return the indicators of the present state.

        Args:
            state: left as it is, in training mode.
            gradients: norms of the players' gradients in the step just made, by their names as indicators.
            thorough: ask the classifier too, if there is one.
        """
        family = state.family
        family.eval()  # dropout off, running statistics instead of a minibatch's: D is asked about one sample at a time
        try:
            drawn = self._samples(family)
            indicators = dict(gradients)
            indicators |= self._of_samples(drawn.points)
            indicators |= self._of_steps(drawn.steps)
            indicators |= self._of_discriminator(family, drawn.logits)
            if thorough:
                indicators |= self._of_features(drawn.images)
            # Verdicts are of the game, so of G itself; its average, which users get, is measured beside it.
            if state.family.config.ema_beta(state.progress.nimg) > 0:
                with state.averaged() as averaged:
                    smooth = self._places(averaged)
                indicators["distance"], indicators["distance error"] = self.reference.cloud.energy(smooth)
            else:
                indicators["distance"], indicators["distance error"] = (
                    indicators["raw distance"],
                    indicators["raw distance error"],
                )
        finally:
            family.train()
        return {name: _rounded(number) for name, number in indicators.items()}

    def _drawn(self, family: Family) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Give samples in pieces, each with the number of the first and their labels."""
        # The inputs are the same in every evaluation: differences are G's, not the draw's. The words are part of the
        # seed: another name would draw others, and change every log.
        inputs = family.sample_inputs(SAMPLES, stream("cpu", "exam", self.seed)).to(self.device)
        labels = draw_labels(family, SAMPLES, stream("cpu", "exam-labels", self.seed))
        labels = None if labels is None else labels.to(self.device)
        noise = stream(self.device, "exam-noise", self.seed)
        for part in pieces(0, SAMPLES, self.shape):
            asked = None if labels is None else labels[part]
            yield part.start, family.generate(inputs[part], asked, generator=noise), asked

    def _places(self, family: Family) -> Tensor:
        """Return the coordinates of samples."""
        return torch.cat([self.reference.project(fake) for _, fake, _ in self._drawn(family)])

    def _samples(self, family: Family) -> Drawn:
        """Draw samples and keep of them what the indicators need."""
        points, steps, logits = list[Tensor](), list[Tensor](), list[Tensor | None]()
        images = [torch.empty(0, *self.shape, device=self.device)]
        for start, fake, asked in self._drawn(family):
            points.append(self.reference.project(fake))
            if self.windows is not None:
                steps.append(self.windows.steps(fake))
            if (judged := ROWS_OF_D - start) > 0:
                logits.append(_logits(family, fake[:judged], None if asked is None else asked[:judged]))
            if self.classify is not None and start < CLASSIFIED:
                images.append(fake[: CLASSIFIED - start])
        return Drawn(torch.cat(points), torch.cat(steps) if steps else None, _joined(logits), torch.cat(images))

    def _of_samples(self, points: Tensor) -> dict[str, float]:
        """Diversity, reach, centre, coverage, modes and distance of the samples against the data rows."""
        reference = self.reference
        if not bool(reference.cloud.within.any()):  # all data rows are equal: nothing to divide by
            return {"raw distance": 0.0, "raw distance error": 0.0}
        among = distances(points, points)  # (samples, samples)
        data_nearest = _nearest(reference.cloud.within)
        spread = reference.cloud.rows.square().sum(1).mean().sqrt()
        centre = points.mean(0)[:2] / reference.cloud.rows.std(0)[:2].clamp_min(1e-12)
        cross = distances(reference.cloud.rows, points)  # (rows, samples)
        indicators = {
            "spread": _mean(among) / _mean(reference.cloud.within),
            "nearest": _nearest(among).mean() / data_nearest.mean(),
            "rank": _participation(points) / _participation(reference.cloud.rows),
            "reach": points.square().sum(1).mean().sqrt() / spread,
            "coverage": (cross.amin(1) <= reference.radius).float().mean(),
        }
        found = {"axes": float(points.shape[1])} | {name: float(value) for name, value in indicators.items()}
        found |= {f"centre {axis}": value for axis, value in enumerate(centre.tolist(), start=1)}
        if reference.classes is not None and reference.shares is not None:
            histogram = _histogram(points, reference.classes)
            # exp(entropy) as a count, both by nearest class means, so that their mistakes cancel.
            found["modes"] = float(_effective(histogram) / _effective(reference.shares))
            found["modes hit"] = float(((histogram > reference.shares / 4) & (reference.shares > 0)).sum()) / float(
                (reference.shares > 0).sum()
            )
        found["raw distance"], found["raw distance error"] = reference.cloud.energy(points, among)
        return found

    def _of_steps(self, steps: Tensor | None) -> dict[str, float]:
        """Of windows: how large steps in time are against those of the data, and the distance of their distribution."""
        if steps is None or self.steps is None:
            return {}
        data = self.steps.cloud.rows.square().sum(1).mean().sqrt()
        points = self.steps.axes.coordinates(steps)  # (samples, axis)
        size = points.square().sum(1).mean().sqrt()
        found = {"time steps": float(self.shape[0]), "roughness": float(size / data) if float(data) else 1.0}
        return found | {"raw step distance": self.steps.cloud.energy(points)[0]}

    def _of_discriminator(self, family: Family, fakes: Tensor | None) -> dict[str, float]:
        """How well D's logits, without dropout, order training rows, held-out rows and samples."""
        real = None if fakes is None else self._judged(family, *self.train_rows)
        if real is None or fakes is None:
            return {}
        # Order statistics: a relativistic objective leaves the offset of logits open, and they do not see it.
        indicators = {"separation": order(real, fakes), "logit scale": float(torch.cat([real, fakes]).abs().mean())}
        held_out = None if self.held_out_rows is None else self._judged(family, *self.held_out_rows)
        if held_out is not None:
            indicators["memorising"] = order(real, held_out)
        return indicators

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
        features, probabilities = self.classify(seen)  # (n, feature), (n, class)
        histogram = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).cpu().double()
        return {
            "raw feature distance": self.featured.energy(features)[0],
            "classes": float(_effective(histogram / histogram.sum())) / probabilities.shape[1],
            "confidence": float(probabilities.amax(1).mean()),
        }


def _logits(family: Family, x: Tensor, labels: Tensor | None) -> Tensor | None:
    return family.logits(x, labels if family.classes else None) if isinstance(family, DiscriminatorLogits) else None


def _joined(logits: Sequence[Tensor | None]) -> Tensor | None:
    """Return the logits of all pieces; None where D gives none."""
    present = [piece for piece in logits if piece is not None]
    return torch.cat(present) if present else None


def order(high: Tensor, low: Tensor) -> float:
    """Return P(h > l) + P(h = l) / 2 for independent draws (the area under the ROC curve); 1/2: no difference."""
    # Mann and Whitney's U over all pairs, (high, low). Doubles on the CPU: MPS has none.
    differences = high[:, None] - low[None]
    above, equal = (truths.cpu().double().mean() for truths in (differences > 0, differences == 0))
    return float(above + equal / 2)


def _mean(table: Tensor) -> Tensor:
    """Mean distance between different rows."""
    n = len(table)
    return table.sum() / max(1, n * (n - 1))  # the diagonal, which is 0, is no pair


def _nearest(table: Tensor) -> Tensor:
    """Distance of each row's nearest other row."""
    return (table + torch.diag(table.new_full((len(table),), math.inf))).amin(1)


def _participation(points: Tensor) -> Tensor:
    """Participation ratio: how many axes carry the variance."""
    # (sum of the covariance's eigenvalues)^2 / (sum of their squares) = (tr C)^2 / ||C||_F^2: no eigenvalues needed.
    centred = points - points.mean(0)  # (n, axis)
    covariance = centred.t() @ centred / len(points)
    return covariance.trace().square() / covariance.square().sum().clamp_min(1e-30)


def _class_means(points: Tensor, labels: Tensor, classes: int) -> Tensor | None:
    """Return the mean of the points of each class (class, axis); None where a class has none, or there are too many."""
    if not 1 < classes <= MOST_CLASSES:
        return None
    counts = torch.zeros(classes, device=points.device).index_add_(0, labels, torch.ones_like(points[:, 0]))
    if not bool((counts > 0).all()):
        return None
    sums = torch.zeros(classes, points.shape[1], device=points.device).index_add_(0, labels, points)
    return sums / counts[:, None]  # (class, axis)


def _histogram(points: Tensor, means: Tensor) -> Tensor:
    """Share of the points nearest to each class mean, on the CPU."""
    return torch.bincount(distances(points, means).argmin(1), minlength=len(means)).cpu().double() / len(points)


def _effective(shares: Tensor) -> Tensor:
    """exp(entropy): the number of equally frequent classes with the same entropy."""
    return torch.special.entr(shares).sum().exp()  # entr(0) = 0: classes that are not there count nothing


def _rounded(number: float) -> float:
    """Six significant digits; the log needs no more."""
    # JSON has no infinity, and a rule reads a very large number as what it is.
    return float(f"{number:.6g}") if math.isfinite(number) else 1e30
