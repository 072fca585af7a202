"""Directions from labels: which way in latent space samples come to look like those of a class, or have an attribute.

A classifier learns the label from features of labelled rows, says of drawn samples how surely they have it, and a
logistic regression learns that from their codes: its normal is the direction.

Source: Shen et al. 2020 (InterFaceGAN), section 3.1. Deviations: logistic regression instead of a support vector
machine; the classifier is a linear one on the features by which the data is measured.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.data.dataset import Dataset, evenly
from saddlepoint.evaluation.features import extractor_for, own_classifier
from saddlepoint.figures.grids import to_uint8
from saddlepoint.metrics.extractors import Extractor, comparable
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.places import Direction, keep_direction, word_of

_ROWS, _SAMPLES, _LEAST = 4_000, 4_000, 20
_HELD = 4
"""One of so many samples is not learned from, and says how well the direction tells the others apart."""

_MOVED, _REACH = 200, 2.0
"""Samples that are moved to see what it does, and how far to either side, in standard deviations."""


@logged
def learn_direction(
    explorer: Explorer, name: str, *, features: str | None = None, n: int = _SAMPLES, seed: int = 0,
    say: Say | None = None,
) -> tuple[str, Direction]:  # fmt: skip
    """Learn a direction from a label of the run's data, and keep it in the run folder.

    Args:
        explorer: of the run.
        name: of a class or attribute of its data, whether the generator is conditional or not.
        features: name of the extractor for the classifier; None: the best one for the data.
        n: samples that are drawn, at least 100.
        seed: of them.
        say: receives lines worth telling.

    Returns:
        The word by which points call it, and the direction. ``about`` has the classifier's accuracy on held-out rows,
        that of the direction on held-out samples (balanced, chance is 0.5), and the share of samples with the label
        when moved by -2, 0 and +2 standard deviations.

    Raises:
        DataError: if the data has no such label, too few rows of it, or the samples do not differ in it.
    """
    run = explorer.run
    dataset = run.dataset(say).in_bytes()
    extractor = extractor_for(dataset, features or own_classifier(dataset), say)
    probe = _Probe(dataset, name, extractor)
    inputs, labels = run.inputs(n, seed=seed), run.labels(n, seed=seed)
    codes = explorer.codes(inputs, labels)
    if say is not None:
        say(f"{name}: a classifier that is right on {probe.accuracy:.1%} of held-out rows looks at {n:,} samples")
    shares = probe(explorer.samples(codes, labels, seed))
    vector, accuracy = _normal(codes.numpy(), shares, name)
    found = torch.from_numpy(vector).float()
    moved = [
        float((probe(explorer.samples(codes[:_MOVED] + amount * explorer.spread * found, _first(labels), seed)) > 0.5)
              .mean()) for amount in (-_REACH, 0.0, _REACH)
    ]  # fmt: skip
    about: dict[str, Any] = {
        "label": name, "features": extractor.name, "rows": probe.rows, "classifier_accuracy": probe.accuracy,
        "samples": n, "seed": seed, "accuracy": accuracy, "moved_by": [-_REACH, 0.0, _REACH], "share": moved,
    }  # fmt: skip
    word, direction = word_of(name), Direction(found, about)
    keep_direction(run.path, word, direction)
    return word, direction


def _first(labels: Tensor | None) -> Tensor | None:
    return None if labels is None else labels[:_MOVED]


class _Probe:
    """A linear classifier of features, which says how surely an image has a label.

    Args:
        dataset: of bytes, with labels.
        name: of the label.
        extractor: of the features.

    Attributes:
        rows: that it learned from.
        accuracy: balanced, on held-out rows.
    """

    def __init__(self, dataset: Dataset, name: str, extractor: Extractor) -> None:
        self.extractor = extractor
        x, y = self._rows(dataset, "train", name)
        held, told = self._rows(dataset, "valid", name)
        self.rows = len(x)
        self.model = _fitted(x, y)
        self.accuracy = _balanced(self.model.predict(held), told)

    def _rows(self, dataset: Dataset, split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return features and whether rows have the label, as many with as without where there are many."""
        given = dataset.splits[split]
        has = _has(dataset, split, name)
        parts = [np.flatnonzero(has == value) for value in (1, 0)]
        least = _LEAST if split == "train" else 2
        if min(map(len, parts)) < least:
            counts = f"{len(parts[0])} with it and {len(parts[1])} without"
            raise DataError(f"'{name}' cannot be learned: of the {split} rows are {counts}, and {least} are needed")
        chosen = np.sort(np.concatenate([rows[evenly(len(rows), _ROWS // 2)] for rows in parts]))
        found = self.extractor.extract(np.ascontiguousarray(given.x[chosen]))
        return comparable(found.x, self.extractor), has[chosen]

    def __call__(self, samples: Tensor) -> np.ndarray:
        """Return the probability that each sample has the label, (n,)."""
        found = comparable(self.extractor.extract(to_uint8(samples)).x, self.extractor)
        share: np.ndarray = self.model.predict_proba(found)[:, 1]
        return share


def _has(dataset: Dataset, split: str, name: str) -> np.ndarray:
    """Return 1 where rows have a label, 0 where not, -1 where it is not known."""
    labels = dataset.splits[split].labels
    if labels is None or not dataset.classes:
        raise DataError(f"'{dataset.name}' has no labels that a direction could be learned of")
    if name not in dataset.classes:
        raise DataError(f"'{dataset.name}' has no label '{name}'; {suggest(name, dataset.classes)}")
    column, labels = dataset.classes.index(name), np.asarray(labels)
    if labels.ndim == 2:
        return np.asarray(labels[:, column])
    return np.where(labels < 0, -1, labels == column)


def _normal(codes: np.ndarray, shares: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """Return the normal of the plane that parts codes with a label from others, and how well it does (balanced)."""
    order = np.argsort(shares, kind="stable")
    # Those that surely have it or not: of a rare label at least a twentieth, so that the surest stand for it.
    count = int(np.clip((shares > 0.5).sum(), len(codes) // 20, len(codes) // 2))
    chosen = np.concatenate([order[:count], order[-count:]])
    has = np.repeat([0, 1], count)
    if shares[order[-1]] - shares[order[0]] < 1e-6:
        raise DataError(f"the samples do not differ in '{name}', so no direction can be learned; train for longer")
    held = np.arange(2 * count) % _HELD == 0
    model = _fitted(codes[chosen[~held]], has[~held])
    accuracy = _balanced(model.predict(codes[chosen[held]]), has[held])
    scaled = model[-1].coef_[0] / model[0].scale_
    return scaled / np.linalg.norm(scaled), accuracy


def _fitted(x: np.ndarray, y: np.ndarray) -> Any:
    """Return a logistic regression on standardised columns, both sides counting alike."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that stops early is still a direction; its accuracy is told
        return model.fit(x.astype(np.float64), y)


def _balanced(found: np.ndarray, told: np.ndarray) -> float:
    """Return the mean of the shares that are right among those with a label and those without."""
    return float(np.mean([np.mean(found[told == value] == value) for value in (0, 1)]))
