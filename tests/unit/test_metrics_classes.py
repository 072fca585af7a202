"""Inception score, class histograms, accuracies, stacked MNIST: closed forms and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.bootstrap import wilson_interval
from saddlepoint.metrics.classes import (
    asked_accuracy,
    class_histogram,
    class_kl,
    classifier_accuracy_score,
    count_modes,
    inception_score,
    stacked_modes,
)


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def test_inception_score_has_known_ends() -> None:
    assert inception_score(np.eye(10)[np.arange(200) % 10]).value == pytest.approx(10, rel=1e-14)
    for p in (np.full((100, 10), 0.1), np.tile([0.7, 0.2, 0.1], (100, 1)), np.eye(3)[np.zeros(100, int)]):
        found = inception_score(p)
        assert found.value == pytest.approx(1, rel=1e-12)
        assert found.interval is None
        assert "alike" in str(found.details["limitation"])


def test_inception_score_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    marginal = p.mean(0)
    expected = math.exp(np.mean([stats.entropy(row, marginal) for row in p]))
    found = inception_score(p)
    assert found.value == pytest.approx(expected, rel=1e-13)
    assert inception_score(torch.from_numpy(p)).value == found.value
    assert "3 rows" in str(found.details["limitation"])


def test_inception_score_of_splits_is_the_mean_of_their_scores() -> None:
    p = _softmax(np.random.default_rng(0).normal(size=(601, 5)))
    found = inception_score(p, splits=3)
    parts = [inception_score(part) for part in np.array_split(p, 3)]
    assert found.value == pytest.approx(np.mean([part.value for part in parts]), rel=1e-13)
    assert found.standard_error == pytest.approx(math.hypot(*(part.standard_error for part in parts)) / 3)
    assert found.value > inception_score(p).value * 0.99
    with pytest.raises(ConfigError, match="splits is 0"):
        inception_score(p, splits=0)
    with pytest.raises(DataError, match="602"):
        inception_score(p, splits=602)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 80), classes=st.integers(2, 12), sharpness=st.floats(0, 30))
def test_inception_score_lies_between_one_and_the_number_of_classes(
    seed: int, n: int, classes: int, sharpness: float
) -> None:
    rng = np.random.default_rng(seed)
    p = _softmax(sharpness * rng.normal(size=(n, classes)))
    value = inception_score(p).value
    assert 1 - 1e-12 <= value <= min(n, classes) * (1 + 1e-12)
    assert inception_score(p[rng.permutation(n)][:, rng.permutation(classes)]).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 1e6])
def test_inception_score_interval_covers_its_expectation(sharpness: float) -> None:
    # 1e6: a sure classifier and balanced classes, where the linear term vanishes.
    rng = np.random.default_rng(1)
    found = [inception_score(_softmax(sharpness * rng.normal(size=(200, 10)))) for _ in range(500)]
    values = np.array([part.value for part in found])
    covered = np.mean([part.interval[0] <= values.mean() <= part.interval[1] for part in found])
    assert 0.91 < covered < 0.99
    assert np.mean([part.standard_error for part in found]) == pytest.approx(values.std(), rel=0.2)


def test_histogram_by_hand() -> None:
    labels, data = np.array([0, 0, 0, 1] * 25), np.array([0, 1, 1, 2] * 25)
    found = class_histogram(labels, data, classes=4)
    assert found.shares.tolist() == [0.75, 0.25, 0, 0]
    assert found.real_shares.tolist() == [0.25, 0.5, 0.25, 0]
    assert found.kl.value == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(0.5), rel=1e-14)
    assert found.total_variation.value == pytest.approx(0.5)
    assert found.present.value == 2
    assert found.kl.details["missing"] == 1
    assert found.kl.details["n_reference"] == 100
    known = class_histogram(torch.from_numpy(labels), torch.tensor([0.25, 0.5, 0.25, 0.0]), classes=4)
    assert known.kl.value == pytest.approx(found.kl.value, rel=1e-7)
    assert known.kl.details["n_reference"] == 0
    assert known.kl.standard_error < found.kl.standard_error
    assert known.total_variation.standard_error < found.total_variation.standard_error


def test_a_class_that_the_data_has_not_is_infinitely_far() -> None:
    found = class_histogram(np.arange(100) % 3, np.arange(100) % 2, classes=3)
    assert found.kl.value == math.inf
    assert found.kl.interval is None
    assert "the data has not" in str(found.kl.details["limitation"])
    assert found.total_variation.value == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("sampled", [False, True])
def test_kl_bias_and_variance_for_equal_histograms(sampled: bool) -> None:
    # 2 KL / (1/n + 1/m) is a chi squared variable with classes - 1 degrees of freedom.
    rng, classes, n, m = np.random.default_rng(2), 8, 400, 600
    p = np.arange(1, 9) / 36
    found = []
    for _ in range(600):
        reference = rng.choice(classes, m, p=p) if sampled else p
        found.append(class_histogram(rng.choice(classes, n, p=p), reference, classes=classes).kl)
    rate = 1 / n + (1 / m if sampled else 0)
    assert np.mean([part.details["bias"] for part in found]) == pytest.approx(7 * rate / 2, rel=0.02)
    corrected = np.array([part.details["corrected"] for part in found])
    assert abs(corrected.mean()) < 4 * corrected.std() / math.sqrt(600)
    values = np.array([part.value for part in found])
    assert values.std() == pytest.approx(math.sqrt(7 / 2) * rate, rel=0.15)
    covered = np.mean([part.interval[0] <= values.mean() <= part.interval[1] for part in found])
    assert 0.92 < covered < 0.985


def test_error_of_a_clear_total_variation_is_that_of_a_difference_of_shares() -> None:
    """Where all differences are clear their signs are known, and half their sum is linear in the shares of both."""
    n, m = 40_000, 10_000
    shares, other = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    made, real = (np.repeat(np.arange(3), (size * p).round().astype(int)) for size, p in ((n, shares), (m, other)))
    signs = np.sign(shares - other)
    own, its = ((1 - (signs @ p) ** 2) / size for p, size in ((shares, n), (other, m)))
    for reference, variance in ((other, own), (real, own + its)):
        found = class_histogram(made, reference, classes=3).total_variation
        assert found.value == pytest.approx(0.5)
        assert found.standard_error == pytest.approx(math.sqrt(variance) / 2, rel=1e-6)


@pytest.mark.parametrize("case", ["equal", "unequal", "missing"])
def test_total_variation_interval_covers_its_expectation(case: str) -> None:
    rng, q = np.random.default_rng(3), np.full(10, 0.1)
    p = {"equal": q, "unequal": np.arange(1, 11) / 55, "missing": np.r_[np.full(5, 0.2), np.zeros(5)]}[case]
    found = [
        class_histogram(rng.choice(10, 500, p=p), rng.choice(10, 300, p=q), classes=10).total_variation
        for _ in range(500)
    ]
    expected = np.mean([part.value for part in found])
    assert 0.91 < np.mean([part.interval[0] <= expected <= part.interval[1] for part in found]) < 0.99


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(1, 30), n=st.integers(1, 200), m=st.integers(1, 200))
@example(seed=1, classes=30, n=1, m=30)  # no class in both, and shares that are rounded
def test_histogram_invariants(seed: int, classes: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    labels, data = rng.integers(0, classes, n), rng.integers(0, classes, m)
    found = class_histogram(labels, data, classes=classes)
    assert found.kl.value >= -1e-12
    assert 0 <= found.total_variation.value <= 1
    assert found.kl.value >= 2 * found.total_variation.value**2 - 1e-12  # Pinsker
    assert found.present.value == len(np.unique(labels))
    turn = rng.permutation(classes)
    other = class_histogram(turn[labels], turn[data], classes=classes)
    assert other.total_variation.value == pytest.approx(found.total_variation.value, abs=1e-12)
    assert other.kl.value == pytest.approx(found.kl.value, abs=1e-12)
    back = class_histogram(data, labels, classes=classes)
    assert back.total_variation.value == pytest.approx(found.total_variation.value, abs=1e-12)


def test_one_class_only_has_no_interval() -> None:
    found = class_histogram(np.zeros(500, int), np.full(10, 0.1), classes=10)
    assert found.kl.value == pytest.approx(math.log(10))
    assert found.total_variation.value == pytest.approx(0.9)
    assert found.kl.interval is None
    assert found.total_variation.interval is None


def test_asked_accuracy() -> None:
    asked = np.repeat([0, 1, 2], 100)
    predicted = np.where(np.arange(300) % 100 < 10 * (asked + 1), (asked + 1) % 3, asked)
    found = asked_accuracy(predicted, torch.from_numpy(asked))
    assert found.value == pytest.approx(0.8)
    assert found.interval == wilson_interval(240 / 300, 300)
    assert (found.details["worst_class"], found.details["worst_accuracy"]) == (2, 0.7)
    with pytest.raises(DataError, match="one label for each row"):
        asked_accuracy(predicted[:-1], asked)


def test_classifier_accuracy_score_sees_generated_rows_only() -> None:
    rng = np.random.default_rng(4)
    labels, tested = rng.integers(0, 3, 600), rng.integers(0, 3, 400)
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    fake, real = centres[labels] + rng.normal(size=(600, 2)), centres[tested] + rng.normal(size=(400, 2))
    good = classifier_accuracy_score(fake, labels, real, tested)
    assert good.value > 0.93
    assert good.details == {"n_train": 600, "n_test": 400, "classes": 3}
    assert good.interval == wilson_interval(good.value, 400)
    wrong = classifier_accuracy_score(fake, (labels + 1) % 3, real, tested)
    assert wrong.value < 0.1
    lost = labels != 2
    assert classifier_accuracy_score(fake[lost], labels[lost], real, tested).value == pytest.approx(2 / 3, abs=0.08)
    # Another scale of one feature is no obstacle.
    stretched = classifier_accuracy_score(fake * [1, 1e4], labels, real * [1, 1e4], tested)
    assert stretched.value == good.value


def test_classifier_accuracy_score_takes_any_classifier() -> None:
    seen = {}

    def fit(features: np.ndarray, labels: np.ndarray):
        seen["train"] = features.copy(), labels.copy()
        return lambda rows: (rows[:, 0] > 0).astype(np.int64)

    fake, real = np.array([[-1.0], [1.0]]), np.array([[-2.0], [3.0], [4.0], [-5.0]])
    found = classifier_accuracy_score(fake, np.array([0, 1]), real, np.array([0, 1, 0, 0]), fit=fit)
    assert found.value == 0.75
    assert seen["train"][0].tolist() == fake.tolist()
    with pytest.raises(DataError, match="1 class"):
        classifier_accuracy_score(fake, np.array([1, 1]), real, np.array([0, 1, 0, 0]))
    with pytest.raises(DataError, match="real labels"):
        classifier_accuracy_score(fake, np.array([0, 1]), real, np.array([0, 1]))


def test_stacked_modes_by_hand() -> None:
    rng = np.random.default_rng(5)
    digits = rng.integers(0, 10, (26_000, 3))
    found = stacked_modes(digits)
    codes = digits[:, 0] * 100 + digits[:, 1] * 10 + digits[:, 2]
    assert found["modes"].value == len(np.unique(codes)) == 1000
    assert found["modes"].interval is None
    expected = stats.entropy(np.bincount(codes, minlength=1000), np.full(1000, 1e-3))
    assert found["kl"].value == pytest.approx(expected, rel=1e-10)
    # All of it is bias: 999 / (2 * 26,000).
    assert found["kl"].value == pytest.approx(999 / 52_000, rel=0.1)
    assert abs(found["kl"].details["corrected"]) < 3e-3
    alone = stacked_modes(torch.zeros(100, 3, dtype=torch.int64))
    assert alone["modes"].value == 1
    assert alone["kl"].value == pytest.approx(math.log(1000))
    half = digits[digits[:, 1] < 5]
    assert stacked_modes(half)["modes"].value == 500
    assert stacked_modes(half)["kl"].details["missing"] == 500
    assert stacked_modes(half)["kl"].value == pytest.approx(math.log(2), abs=0.03)


def test_modes_seen_once_are_told() -> None:
    found = count_modes(np.array([5, 1, 0, 1, 2]))
    assert (found.value, found.details["singletons"], found.details["of"], found.details["n"]) == (4, 2, 5, 9)


def test_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(DataError, match="softmax"):
        inception_score(np.array([[2.0, -1.0]]))
    with pytest.raises(DataError, match="softmax"):
        inception_score(np.ones((3, 2)))
    with pytest.raises(DataError, match="not finite"):
        inception_score(np.full((3, 2), np.nan))
    with pytest.raises(DataError, match="0 to 3, but must be within 0 and 2"):
        class_histogram(np.array([0, 3]), np.array([0, 1]), classes=3)
    with pytest.raises(DataError, match="data labels go from -1"):
        class_histogram(np.array([0, 2]), np.array([-1, 1]), classes=3)
    with pytest.raises(DataError, match="as integers"):
        class_histogram(np.array([0, 2]), np.array([0.0, 1.0, 2.0]), classes=3)
    with pytest.raises(DataError, match="the sum"):
        class_kl(np.array([0, 1]), np.array([0.5, 0.6]))
    with pytest.raises(ConfigError, match="classes is 0"):
        class_histogram(np.array([0]), np.array([0]), classes=0)
    with pytest.raises(DataError, match=r"\(4,\), but must be \(n, channels\)"):
        stacked_modes(np.zeros(4, int))
    with pytest.raises(DataError, match="within 0 and 9"):
        stacked_modes(np.full((2, 3), 10))


def test_the_error_of_an_inception_score_at_balanced_classes() -> None:
    """There log(marginal) is the same for all classes: what is left are the entropies of rows and |noise|^2."""
    n, d = 60, np.linspace(0, 0.4, 30)
    p = np.concatenate([np.stack([0.5 + d, 0.5 - d], 1), np.stack([0.5 - d, 0.5 + d], 1)])
    found = inception_score(p)
    gains = np.log(2) + (p * np.log(p)).sum(1)
    second = 2 * ((d**2).mean() / 0.5) ** 2 / n**2
    assert found.value == pytest.approx(np.exp(gains.mean()))
    expected = found.value * np.sqrt(gains.var() * n / (n - 1) / n + second)
    assert found.standard_error == pytest.approx(expected, rel=1e-9)
