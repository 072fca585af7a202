"""Figures that need a classifier or labels: Inception score, class balance, classifier accuracy, stacked MNIST."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr, ndtr, rel_entr
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.bootstrap import (
    Estimate,
    as_features,
    as_labels,
    as_pair,
    mean_estimate,
    normal_interval,
    proportion,
    squared_interval,
)
from saddlepoint.metrics.distances import Rows

Labels = Int[np.ndarray, " n"] | Int[Tensor, " n"]
Predict = Callable[[Float[np.ndarray, "n d"]], Int[np.ndarray, " n"]]
Fit = Callable[[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]], Predict]
"""Trains a classifier: (features, labels) -> a function from features to labels."""

LEAST_ROWS = 50
"""Samples below which no interval of an entropy-like figure is given."""


_NOTHING = 1e-9
"""A standard error below this is one of rounding."""

_ALIKE = "no interval: all samples are alike, which says nothing of how they vary"


@dataclass(frozen=True)
class ClassHistogram:
    """Classes of generated samples against those of data; see `class_histogram`.

    Attributes:
        shares: (classes,) of generated samples.
        real_shares: (classes,) of data.
        present: number of classes that were generated.
        kl: KL(generated || data), in nats.
        total_variation: half the sum of absolute differences.
    """

    shares: np.ndarray
    real_shares: np.ndarray
    present: Estimate
    kl: Estimate
    total_variation: Estimate


def inception_score(probabilities: Rows, *, splits: int = 1) -> Estimate:
    """Inception score: exp of the mean KL(p(y | x) || p(y)) over samples, under any classifier.

    Args:
        probabilities: (n, classes) the classifier's probabilities, each row with the sum 1.
        splits: parts of consecutive rows whose scores are averaged. The published 10 make the figure smaller and
            depend on the order of rows; 1 is the default here.

    Returns:
        The score, 1 to the number of classes. The interval covers the expected score of samples of the same n
        (and splits): the score is biased downwards, by a factor of about 1 - (classes - 1) / (2n). None below 50 rows a
        split. Details: ``n``, ``classes``, ``splits``.

    Raises:
        ConfigError: if splits is below 1.
        DataError: if the table is not (n, classes) with finite values, none below 0, and rows that add up to 1;
            or if there are fewer rows than splits.

    Source: Salimans et al. 2016, section 4. Variance: delta method, second order included, since the first vanishes
    for a sure classifier and balanced classes.

    >>> inception_score(np.eye(4)).value
    4.0
    """
    p = _distributions(probabilities)
    if splits < 1:
        raise ConfigError(f"splits is {splits}, but must be at least 1")
    if len(p) < splits:
        raise DataError(f"there are {len(p)} rows for {splits} splits, but each split needs one: draw more")
    parts = [_score(part) for part in np.array_split(p, splits)]
    score = parts[0] if splits == 1 else mean_estimate(parts)
    details: dict[str, int | float | str] = {"n": len(p), "classes": p.shape[1], "splits": splits}
    if score.interval is None:
        details["limitation"] = next(part.details["limitation"] for part in parts if part.interval is None)
    return Estimate(score.value, score.interval, score.standard_error, details)


def _score(p: np.ndarray) -> Estimate:
    """The score of one split."""
    n, marginal = len(p), p.mean(0)
    gains = rel_entr(p, marginal).sum(1)
    value = math.exp(float(gains.mean()))
    if n < LEAST_ROWS:
        few = f"{n} rows a split are too few for an interval; {LEAST_ROWS} are needed"
        return Estimate(value, None, None, {"limitation": few})
    seen = marginal > 0
    scaled = (p[:, seen] - marginal[seen]) / np.sqrt(marginal[seen])
    covariance = scaled.T @ scaled / n
    # The log score is log(classes) - mean entropy - theta, and theta = KL(marginal || uniform) is a squared distance to
    # second order: its variance vanishes at balanced classes, that of the mean entropy does not.
    theta = math.log(p.shape[1]) - float(entr(marginal).sum())
    bias, second = float(covariance.trace()) / (2 * n), float((covariance**2).sum()) / (2 * n**2)
    linear = float((p[:, seen] @ np.log(marginal[seen])).var(ddof=1)) / n
    constant = max(float(gains.var(ddof=1)) / n - linear, 0.0)
    if linear + second + constant < _NOTHING**2:
        return Estimate(value, None, None, {"limitation": _ALIKE})
    (low, high), error = squared_interval(theta - bias, bias=bias, linear=linear, second=second, constant=constant)
    shift = theta - bias
    return Estimate(value, (value * math.exp(shift - high), value * math.exp(shift - low)), value * error)


def class_histogram(labels: Labels, reference: np.ndarray | Tensor, *, classes: int) -> ClassHistogram:
    """Compare the class histogram of generated samples with that of data.

    Args:
        labels: (n,) classes of generated samples, 0 to classes - 1.
        reference: (m,) integer classes of data, or (classes,) floats: known probabilities with the sum 1.
        classes: number of classes.

    Returns:
        Shares, and three estimates whose details tell ``n``, ``n_reference`` (0: known) and ``classes``.

        ``kl``: KL(generated || data) in nats, by plugging in; infinite if a class is generated that the data has not.
        The interval covers the expected figure of samples of the same n and m: it is biased upwards, by about
        (classes - 1)(1/n + 1/m) / 2 for equal histograms. None below 50 samples. Details: ``missing`` (classes of
        the data that were not generated), ``bias``, ``corrected`` (value minus bias).

        ``total_variation``: half the sum of absolute differences, 0 to 1. The interval covers the expected figure of
        samples of the same n and m, which is above 0 for equal histograms. None below 50 samples.

        ``present``: classes that occur, without an interval (`count_modes`).

    Raises:
        ConfigError: if there are no classes.
        DataError: if labels are not integers within range, or probabilities no distribution over the classes.

    Source: Srivastava et al. 2017, section 4 (direction of the KL); its bias: Miller 1955. Variances: delta
    method to second order (KL); absolute values of normal variables, Leone et al. 1961 (total variation).

    >>> found = class_histogram(np.array([0, 0, 1, 1]), np.array([0.25, 0.25, 0.5]), classes=3)
    >>> round(found.kl.value, 6), found.total_variation.value, found.present.value  # log 2
    (0.693147, 0.5, 2.0)
    """
    p, q, n, m = _histograms(labels, reference, classes)
    present = count_modes(np.rint(p * n).astype(np.int64))
    return ClassHistogram(p, q, present, _kl(p, q, n, m), _total_variation(p, q, n, m))


def asked_accuracy(predicted: Labels, asked: Labels) -> Estimate:
    """Share of generated samples that a classifier takes for the class they were asked to be.

    Args:
        predicted: (n,) the classifier's answers.
        asked: (n,) labels given to the generator.

    Returns:
        The share, 0 to 1. Wilson's interval covers the probability for a label drawn as the asked ones were. If
        their counts were fixed beforehand and classes differ much, it is too wide. Details: ``n``, ``worst_class``,
        ``worst_accuracy``.

    Raises:
        DataError: if labels are not integers, or their numbers differ.

    >>> asked_accuracy(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])).value
    0.75
    """
    wanted = as_labels(asked, "asked labels")
    hits = as_labels(predicted, "predicted labels", len(wanted)) == wanted
    shares = {label: float(hits[wanted == label].mean()) for label in np.unique(wanted).tolist()}
    worst = min(shares, key=lambda label: shares[label])
    return proportion(hits, {"worst_class": worst, "worst_accuracy": shares[worst]})


def classifier_accuracy_score(
    fake: Rows, fake_labels: Labels, real: Rows, real_labels: Labels, *, fit: Fit | None = None
) -> Estimate:
    """Classifier accuracy score: accuracy on real rows of a classifier that saw generated ones only.

    Args:
        fake: (m, d) features of generated samples.
        fake_labels: (m,) classes they were asked for.
        real: (n, d) features of held-out data.
        real_labels: (n,) their classes.
        fit: trains a classifier; the default is a logistic regression on standardised features.

    Returns:
        The accuracy, 0 to 1. Wilson's interval covers the accuracy of this classifier on all data; another set of
        generated samples would give another classifier, which it does not count. Details: ``n_train``, ``n_test``,
        ``classes``.

    Raises:
        DataError: on features that are not two finite tables of equal width, labels that do not fit, or fewer than
            two classes to train on.

    Source: Ravuri & Vinyals 2019, section 3.
    """
    x, y = as_pair(real, fake)
    wanted = as_labels(real_labels, "real labels", len(x))
    labels = as_labels(fake_labels, "generated labels", len(y))
    classes = len(np.unique(labels))
    if classes < 2:
        raise DataError(f"generated labels hold {classes} class, but a classifier needs two: ask for all classes")
    predict = (fit or _logistic)(y.numpy(), labels)
    answers = as_labels(np.asarray(predict(x.numpy())), "answers of the classifier", len(x))
    hits = answers == wanted
    score = proportion(hits)
    return Estimate(
        score.value, score.interval, score.standard_error, {"n_train": len(y), "n_test": len(x), "classes": classes}
    )


def stacked_modes(predictions: Labels) -> dict[str, Estimate]:
    """Count the modes of stacked MNIST: three digits of a picture, one a channel, name one of 1,000 modes.

    Args:
        predictions: (n, 3) classes of the channels, 0 to 9, by any digit classifier; of c channels there are 10^c
            modes. The protocol takes n = 26,000 (PacGAN) or 25,600 (VEEGAN).

    Returns:
        ``modes``: how many occur. No interval: seen modes say too little about rare ones; details tell
        ``singletons``, the modes seen once, over n an estimate of the unseen probability (Good 1953).
        ``kl``: KL of the modes to the uniform distribution, in nats; its interval as in `class_histogram`.

    Raises:
        DataError: if predictions are not (n, channels) integers within range.

    Source: Metz et al. 2017, section 3.3.1 (the task and its figures); Lin et al. 2018, section 4.2 (26,000).

    >>> stacked_modes(np.array([[0, 0, 7], [0, 0, 7], [9, 9, 9]]))["modes"].value
    2.0
    """
    shape = tuple(predictions.shape)
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"predictions have shape {shape}, but must be (n, channels): three digits for each picture")
    flat = as_labels(predictions.reshape(-1), "predictions").reshape(shape)
    _in_range(flat, "predictions", 10)
    modes = 10 ** shape[1]
    codes = flat @ 10 ** np.arange(shape[1] - 1, -1, -1)
    counts = np.bincount(codes, minlength=modes)
    return {"modes": count_modes(counts), "kl": class_kl(codes, np.full(modes, 1 / modes))}


def count_modes(counts: Int[np.ndarray, " modes"]) -> Estimate:
    """Return how many modes have samples, without an interval, and how many have one only.

    Args:
        counts: samples in each mode.
    """
    details: dict[str, int | float | str] = {
        "n": int(counts.sum()),
        "of": len(counts),
        "singletons": int((counts == 1).sum()),
        "limitation": "no interval: the modes that were seen do not tell how probable the unseen ones are",
    }
    return Estimate(float((counts > 0).sum()), None, None, details)


def class_kl(labels: Labels, probabilities: Float[np.ndarray, " classes"]) -> Estimate:
    """Return the ``kl`` of `class_histogram` alone, to known probabilities."""
    p, q, n, m = _histograms(labels, np.asarray(probabilities, np.float64), len(probabilities))
    return _kl(p, q, n, m)


def _kl(p: np.ndarray, q: np.ndarray, n: int, m: int | None) -> Estimate:
    """KL(p || q) of shares p of n samples and q of m samples, or known q."""
    value = float(rel_entr(p, q).sum())
    missing = int(((p == 0) & (q > 0)).sum())
    details: dict[str, int | float | str] = {"n": n, "n_reference": m or 0, "classes": len(p), "missing": missing}
    if math.isinf(value):
        return Estimate(value, None, None, details | {"limitation": "a class was generated that the data has not"})
    seen = p > 0
    p, q = p[seen], q[seen]
    ratio = p / q
    # Second order: |u - v|^2 / 2 with u = dp / sqrt(p), v = dq sqrt(p) / q; c and `own` make up its covariance.
    own, c = 1 / n + (ratio / m if m else np.zeros_like(p)), 1 / n + (1 / m if m else 0.0)
    bias = float(own.sum() - c) / 2
    second = float((own**2).sum() - 2 * c * (own @ p) + c**2) / 2
    if min(n, m or n) < LEAST_ROWS:
        few = f"{min(n, m or n)} samples are too few for an interval; {LEAST_ROWS} are needed"
        return Estimate(value, None, None, details | {"limitation": few})
    linear = _variance(np.log(ratio), p) / n + (_variance(ratio, q) / m if m else 0.0)
    corrected = value - bias
    if linear + second < _NOTHING**2:
        return Estimate(value, None, None, details | {"limitation": _ALIKE})
    (low, high), error = squared_interval(corrected, bias=bias, linear=linear, second=second)
    return Estimate(
        value, (max(low + bias, 0.0), max(high + bias, 0.0)), error, details | {"bias": bias, "corrected": corrected}
    )


def _total_variation(p: np.ndarray, q: np.ndarray, n: int, m: int | None) -> Estimate:
    """Half the absolute differences of shares p of n samples and q of m samples, or known q."""
    gap = p - q
    value = min(float(np.abs(gap).sum() / 2), 1.0)  # of rounded shares that share no class it may be a last digit above
    details: dict[str, int | float | str] = {"n": n, "n_reference": m or 0, "classes": len(p)}
    if min(n, m or n) < LEAST_ROWS:
        details["limitation"] = f"{min(n, m or n)} samples are too few for an interval; {LEAST_ROWS} are needed"
        return Estimate(value, None, None, details)
    noise = p / n + (q / m if m else 0.0)
    # The squared gap holds the noise once; only what clearly exceeds it counts as a difference.
    centre = np.sqrt(np.maximum(gap**2 - 1.5 * noise, 0.0))
    width = np.sqrt(np.maximum(noise, 1e-300))
    sign = 2 * ndtr(centre / width) - 1
    folded = width * math.sqrt(2 / math.pi) * np.exp(-((centre / width) ** 2) / 2) + centre * sign
    shared = np.sign(gap) * sign
    variance = float((centre**2 + noise - folded**2).sum()) - float((shared @ p) ** 2) / n
    if m:
        variance -= float((shared @ q) ** 2) / m
    error = math.sqrt(max(variance, 0.0)) / 2
    if error < _NOTHING:
        return Estimate(value, None, None, details | {"limitation": _ALIKE})
    low, high = normal_interval(value, error)
    return Estimate(value, (max(low, 0.0), min(high, 1.0)), error, details)


def _variance(values: np.ndarray, shares: np.ndarray) -> float:
    """Variance of ``values`` under shares, the rest of which is at 0."""
    return float(shares @ values**2 - (shares @ values) ** 2)


def _histograms(
    labels: Labels, reference: np.ndarray | Tensor, classes: int
) -> tuple[np.ndarray, np.ndarray, int, int | None]:
    """Shares of generated and of data classes, and how many samples they rest on (None: known)."""
    if classes < 1:
        raise ConfigError(f"classes is {classes}, but must be at least 1")
    ours = as_labels(labels, "generated labels")
    _in_range(ours, "generated labels", classes)
    p = np.bincount(ours, minlength=classes) / len(ours)
    known = reference.is_floating_point() if isinstance(reference, Tensor) else np.asarray(reference).dtype.kind == "f"
    if known:
        q = np.asarray(reference, np.float64)
        if q.shape != (classes,) or not (q >= 0).all() or abs(q.sum() - 1) > 1e-6:
            raise DataError(
                f"reference has shape {q.shape} and the sum {q.sum():g}, but probabilities of {classes} classes, >= 0 "
                "with the sum 1, are needed; pass labels as integers"
            )
        return p, q, len(ours), None
    theirs = as_labels(reference, "data labels")
    _in_range(theirs, "data labels", classes)
    return p, np.bincount(theirs, minlength=classes) / len(theirs), len(ours), len(theirs)


def _in_range(labels: np.ndarray, name: str, classes: int) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{name} go from {labels.min()} to {labels.max()}, but must be within 0 and {classes - 1}: "
            "pass the right number of classes"
        )


def _distributions(probabilities: Rows) -> np.ndarray:
    p = as_features(probabilities, "probabilities", least=1).numpy()
    sums = p.sum(1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise DataError(
            f"probabilities go from {p.min():g} to {p.max():g}, their rows add up to {sums.min():g} to {sums.max():g}; "
            "each row must be >= 0 with the sum 1: apply softmax to logits"
        )
    return p / sums[:, None]


def _logistic(features: np.ndarray, labels: np.ndarray) -> Predict:
    """Multinomial logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
    return model.predict
