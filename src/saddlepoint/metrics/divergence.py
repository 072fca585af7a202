"""A certified lower bound on the Jensen-Shannon divergence between data and generated samples.

By theorem 1 of Goodfellow et al. 2014, max_D V(D, G) = -log 4 + 2 JSD. Any discriminator D therefore gives
(V(D, G) + log 4) / 2 <= JSD, provided that V is measured on samples which D has never seen. A discriminator that
says 1/2 everywhere gives V = -log 4 for any generator, the bound 0: a V near -log 4 during training says nothing of
the generator unless D is good. Hence a probe, trained afresh.

The bound is a bound: 0 may mean that both distributions are equal, or that the probe sees no difference. Pixels hold
differences that no person sees (values that data never take), so that simple generators reach log 2 there; rows of
features give the divergence between features, which is at most that between the images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import LEVEL, Estimate, normal_interval, proportion
from saddlepoint.metrics.distances import Rows, count_features
from saddlepoint.metrics.probe import LARGEST_LOGIT, train_probe
from saddlepoint.objectives.theory import jsd_lower_bound

LEAST = 40
"""Fewest rows of each kind: half of them train the probe, a quarter of these weigh its members."""

_FEW = 1000


@dataclass(frozen=True)
class CertifiedJsd:
    """What a fresh probe can tell of two samples.

    Attributes:
        bound: (V + log 4) / 2 in nats, at most log 2; its interval covers what this probe would give on endless new
            samples, which is at most JSD. Below 0 when the probe is worse than saying 1/2. Details: ``V``,
            ``n_real`` and ``n_fake`` (rows it was measured on), ``guaranteed`` (lower end without the normal
            approximation, see `certified_jsd`), ``cross_fit``, ``weight ...`` of the probe's members.
        accuracy: share of the rows told apart rightly, equally many of both kinds, with Wilson's interval.
        p_value: of the hypothesis that both samples have one distribution, by the accuracy.
    """

    bound: Estimate
    accuracy: Estimate
    p_value: float

    @property
    def certified(self) -> float:
        """The lower end of the interval, at least 0: JSD is no smaller, with 97.5% confidence (one-sided)."""
        return max(0.0, self.bound.interval[0]) if self.bound.interval else 0.0


@dataclass(frozen=True)
class _Logits:
    """Logits of one probe on the rows it has not seen."""

    real: np.ndarray
    fake: np.ndarray
    weights: dict[str, float]


def certified_jsd(
    real: Rows,
    fake: Rows,
    *,
    features: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    cross_fit: bool = False,
) -> CertifiedJsd:
    """Train a fresh probe on one half of the samples and evaluate V on the other half.

    The interval is normal: V is a sum of two means of independent terms. For a statement that rests on no
    approximation, ``details["guaranteed"]`` is a lower end by the empirical Bernstein inequality, at the same
    one-sided confidence of 97.5%.

    With ``cross_fit``, a second probe is trained on the second half and evaluated on the first; the bound is the mean
    of both, with an interval from all terms (narrower by a factor of 1.4). Terms of different halves are not
    independent then, since each half also trains the other's probe; the interval still holds for large samples
    (Bayle et al. 2020, theorem 1).

    The p-value is that of a classifier two-sample test: the number of rows told apart rightly, out of equally many of
    both kinds, against at least as many by tossing a coin (binomial, exact; conservative if the probe prefers one
    answer). With ``cross_fit``, twice the smaller one of both halves.

    Args:
        real: (n, *sample) held-out data: neither the generator nor its choice has seen them. Images (n, channel,
            height, width) of any type, or vectors.
        fake: (m, *sample) generated samples, in the units and type of ``real``.
        features: further views of the same rows that the probe may use, (n, d) and (m, d), such as those of an
            extractor. They must be functions of the rows.
        seed: of the halves and the probe.
        cross_fit: whether to swap the halves as well, at twice the cost.

    Raises:
        DataError: if there are fewer than 40 rows, rows differ in shape or units, or values are not finite.

    Source: Goodfellow et al. 2014, theorem 1; Lopez-Paz and Oquab 2017, section 3, for the test; Maurer and Pontil
    2009, theorem 4, for the guarantee.
    """
    views = [_views(real, fake, "real rows", "generated rows")]
    if features is not None:
        views.append(_views(*features, "features of real rows", "features of generated rows"))
        for kind, (rows, given) in enumerate(zip(*views, strict=True)):
            if len(rows) != len(given):
                raise DataError(
                    f"there are {len(given)} rows of features for {len(rows)} {('real', 'generated')[kind]} rows; "
                    "extract them from the same rows, in the same order"
                )
    rng = np.random.default_rng(seed)
    cuts = []
    for kind in (0, 1):
        order = rng.permutation(len(views[0][kind]))
        cuts.append((order[: len(order) // 2], order[len(order) // 2 :]))
    folds = []
    for turn in range(2 if cross_fit else 1):
        train, test = (
            [[view[kind][cuts[kind][side]] for view in views] for kind in (0, 1)] for side in (turn, 1 - turn)
        )
        folds.append(_measure(train, test, int(rng.integers(2**31))))
    return _result(folds)


def _measure(train: list[list[np.ndarray]], test: list[list[np.ndarray]], seed: int) -> _Logits:
    """Train on the real and generated views of one half, look at those of the other."""
    probe = train_probe(train[0], train[1], seed)
    real, fake = (probe.logits(views) for views in test)
    return _Logits(real, fake, dict(zip(probe.members, probe.weights, strict=True)))


def _result(folds: Sequence[_Logits]) -> CertifiedJsd:
    real, fake = (np.concatenate(logits) for logits in zip(*((h.real, h.fake) for h in folds), strict=True))
    terms = _log_sigmoid(real), _log_sigmoid(-fake)
    v = sum(float(term.mean()) for term in terms)
    error = math.sqrt(sum(float(term.var(ddof=1)) / len(term) for term in terms)) / 2
    value = jsd_lower_bound(v)
    hits, p_values = [], []
    for fold in folds:
        # The rows are in random order: leaving out the last ones of the longer kind prefers none.
        k = min(len(fold.real), len(fold.fake))
        hits.append(np.concatenate([fold.real[:k] > 0, fold.fake[:k] <= 0]))
        hit = int(hits[-1].sum())
        # P(at least as many hits by tossing a coin).
        p_values.append(float(bdtrc(hit - 1, 2 * k, 0.5)) if hit else 1.0)
    details: dict[str, int | float | str] = {
        "V": v,
        "n_real": len(real),
        "n_fake": len(fake),
        "guaranteed": float(np.mean([_guaranteed(fold, len(folds)) for fold in folds])),
        "cross_fit": str(len(folds) > 1).lower(),
    }
    for name in folds[0].weights:
        details[f"weight {name}"] = float(np.mean([fold.weights[name] for fold in folds]))
    if min(len(real), len(fake)) < _FEW:
        details["limitation"] = f"measured on fewer than {_FEW:,} rows: the probe is weak and the interval rough"
    return CertifiedJsd(
        Estimate(value, normal_interval(value, error), error, details),
        proportion(np.concatenate(hits)),
        float(min(1.0, len(p_values) * min(p_values))),
    )


def _guaranteed(fold: _Logits, folds: int) -> float:
    """Lower end of the bound by the empirical Bernstein inequality, the risk shared by all means involved."""
    risk = (1 - LEVEL) / 2 / (2 * folds)
    width = math.log1p(math.exp(LARGEST_LOGIT))
    v = 0.0
    for term in (_log_sigmoid(fold.real), _log_sigmoid(-fold.fake)):
        n, log = len(term), math.log(2 / risk)
        v += float(term.mean()) - math.sqrt(2 * float(term.var(ddof=1)) * log / n) - 7 * width * log / (3 * (n - 1))
    return jsd_lower_bound(v)


def _log_sigmoid(logits: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -logits)


def _views(real: Rows, fake: Rows, *names: str) -> tuple[np.ndarray, np.ndarray]:
    count_features(real, fake, (names[0], names[1]))
    a, b = (rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows) for rows in (real, fake))
    if (a.dtype == np.uint8) != (b.dtype == np.uint8):
        raise DataError(
            f"{names[0]} are {a.dtype} and {names[1]} {b.dtype}: only one of them is in [0, 255]; convert it"
        )
    for rows, name in zip((a, b), names, strict=True):
        if len(rows) < LEAST:
            remedy = "draw more" if "generated" in name else "use more data"
            raise DataError(f"there are {len(rows)} {name}, but a probe needs at least {LEAST}: {remedy}")
        broken = int((~np.isfinite(rows.reshape(len(rows), -1)).all(1)).sum())
        if broken:
            raise DataError(f"{broken} {name} hold values that are not finite: leave them out, or find their cause")
    return a, b
