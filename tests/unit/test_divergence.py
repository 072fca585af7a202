"""The certified bound: below the truth, close to it, with intervals and p-values that mean what they say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits

from saddlepoint.core.errors import DataError
from saddlepoint.data.sources.synthetic import Mixture
from saddlepoint.metrics import divergence, probe
from saddlepoint.metrics.divergence import CertifiedJsd, _Logits, _result, certified_jsd
from saddlepoint.metrics.probe import stack, train_probe
from saddlepoint.objectives import theory

LOG2 = math.log(2)
GRID = np.arange(-12, 16, 1e-3)
ANGLES = 2 * math.pi * np.arange(8) / 8
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def _gaussian(n: int, seed: int, mean: float = 0.0, sigma: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sigma, (n, 1))


def _mixture(n: int, seed: int, modes: int, sigma: float) -> np.ndarray:
    return Mixture("ring", RING[:modes], sigma).sample(n, np.random.default_rng(seed))[0]


def _ring_truth(modes: int, sigma: float) -> float:
    ticks = np.arange(-2, 2, 0.005)
    points = np.stack(np.meshgrid(ticks, ticks), 2).reshape(-1, 2)
    densities = [Mixture("ring", RING[:k], sigma).density(points) for k in (8, modes)]
    return theory.jsd(*densities, 0.005**2)


def _square(n: int, seed: int, corner: float) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2)) + np.array([corner, 0])


PAIRS: dict[str, tuple[Callable[[int, int], np.ndarray], Callable[[int, int], np.ndarray], float, float]] = {
    "equal": (_gaussian, _gaussian, 0.0, 0.02),
    "shift 1": (_gaussian, lambda n, s: _gaussian(n, s, 1.0), 0.1114, 0.02),
    "scale 2": (_gaussian, lambda n, s: _gaussian(n, s, 0.0, 2.0), 0.0927, 0.02),
    "modes missing": (
        lambda n, s: _mixture(n, s, 8, 0.2),
        lambda n, s: _mixture(n, s, 6, 0.2),
        _ring_truth(6, 0.2),
        0.02,
    ),
    "disjoint": (lambda n, s: _square(n, s, 0), lambda n, s: _square(n, s, 2), LOG2, 0.05),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weaker probe in a tenth of the time, where its strength does not matter."""
    monkeypatch.setattr(probe, "_ON_VECTORS", probe._Recipe(40, 64, 5e-3))
    monkeypatch.setattr(probe, "_ON_IMAGES", probe._Recipe(80, 64, 1e-2))
    monkeypatch.setattr(probe, "TREE_FEATURES", 0)


@pytest.mark.parametrize("name", PAIRS)
def test_known_pairs(name: str) -> None:
    real, fake, truth, tolerance = PAIRS[name]
    found = certified_jsd(real(10_000, 1), fake(10_000, 2))
    assert found.certified <= truth
    assert abs(found.bound.value - truth) < tolerance
    assert found.bound.value <= truth + 3 * (found.bound.standard_error or 0)
    assert float(found.bound.details["guaranteed"]) < found.bound.value
    assert (found.p_value > 0.01) if name == "equal" else (found.p_value < 1e-30)


@pytest.mark.parametrize(("mean", "sigma"), [(0.5, 1.0), (2.0, 1.0), (0.0, 2.0)])
def test_the_expected_bound_of_a_probe_is_below_the_divergence_and_inside_the_interval(
    mean: float, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[probe.Probe] = []

    def keep(*arguments: object) -> probe.Probe:
        probes.append(train_probe(*arguments))  # type: ignore[arg-type]
        return probes[-1]

    monkeypatch.setattr(divergence, "train_probe", keep)
    found = certified_jsd(_gaussian(5000, 3), _gaussian(5000, 4, mean, sigma), seed=5)
    p, q = norm.pdf(GRID), norm.pdf(GRID, mean, sigma)
    logits = probes[0].logits([GRID[:, None]])
    v = float((p * -np.logaddexp(0, -logits) + q * -np.logaddexp(0, logits)).sum() * 1e-3)
    expected, truth = theory.jsd_lower_bound(v), theory.jsd(p, q, 1e-3)
    # By quadrature, so there is no chance in it: the inequality of theorem 1 itself.
    assert truth - 0.02 < expected < truth
    assert found.bound.interval is not None
    assert found.bound.interval[0] < expected < found.bound.interval[1]


def test_a_probe_judged_on_its_own_training_half_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(300, 60)), rng.normal(size=(300, 60))
    fake[:, 0] += 1
    truth = 0.1114
    assert certified_jsd(real, fake).certified <= truth

    original = divergence._measure
    monkeypatch.setattr(divergence, "_measure", lambda train, test, seed: original(train, train, seed))
    # What `test_known_pairs` asserts does not hold of it.
    assert certified_jsd(real, fake).certified > truth + 0.02


def test_a_constant_discriminator_says_nothing_of_any_generator() -> None:
    for generated in (_square(500, 1, 0), _square(500, 1, 2), np.zeros((500, 2))):
        v = theory.value(torch.zeros(500), torch.zeros(len(generated)))
        assert v.item() == pytest.approx(-math.log(4))
        assert theory.jsd_lower_bound(v.item()) == pytest.approx(0, abs=1e-6)
    found = _result([_Logits(np.zeros(500), np.zeros(500), {})])
    assert found.bound.value == pytest.approx(0, abs=1e-15)
    assert (found.certified, found.accuracy.value) == (0.0, 0.5)


def test_intervals_cover_the_expected_bound() -> None:
    rng = np.random.default_rng(0)
    p, q = norm.pdf(GRID), norm.pdf(GRID, 1.0)
    truth = theory.jsd(p, q, 1e-3)
    inside = above = 0
    for _ in range(500):
        # The best discriminator of N(0, 1) against N(1, 1) has the logit 1/2 - x.
        found = _result([_Logits(0.5 - rng.normal(0, 1, 300), 0.5 - rng.normal(1, 1, 200), {})])
        assert found.bound.interval is not None
        inside += found.bound.interval[0] <= truth <= found.bound.interval[1]
        above += float(found.bound.details["guaranteed"]) > truth
    assert 0.92 < inside / 500 < 0.98
    assert above == 0


@pytest.mark.parametrize("halves", [1, 2])
def test_the_guarantee_is_that_of_bernstein_with_the_risk_shared(halves: int) -> None:
    """Maurer and Pontil 2009, theorem 4: a risk of 2.5% in all, shared by both means of each half."""
    rng = np.random.default_rng(2)
    folds = [_Logits(0.5 - rng.normal(0, 1, 900), 0.5 - rng.normal(1, 1, 700), {}) for _ in range(halves)]
    log, ends = math.log(2 / (0.025 / (2 * halves))), []
    for fold in folds:
        v = 0.0
        for term in (-np.log1p(np.exp(-fold.real)), -np.log1p(np.exp(fold.fake))):
            n, largest = len(term), math.log1p(math.exp(probe.LARGEST_LOGIT))
            v += term.mean() - math.sqrt(2 * term.var(ddof=1) * log / n) - 7 * largest * log / (3 * (n - 1))
        ends.append((v + math.log(4)) / 2)
    found = float(_result(folds).bound.details["guaranteed"])
    assert found == pytest.approx(np.mean(ends), rel=1e-9)


@pytest.mark.parametrize(("threshold", "n", "m"), [(0.0, 200, 200), (1.5, 200, 200), (-1.5, 150, 400), (1.5, 400, 150)])
def test_p_values_hold_for_classifiers_with_any_preference(threshold: float, n: int, m: int) -> None:
    rng = np.random.default_rng(1)
    alarms = sum(
        _result([_Logits(rng.normal(size=n) - threshold, rng.normal(size=m) - threshold, {})]).p_value < 0.05
        for _ in range(600)
    )
    # 5% of 600 are 30; a normal deviate of 3 more is 46. A classifier with a preference makes it conservative.
    assert alarms <= 46
    if threshold == 0:
        assert alarms >= 8


def test_p_values_of_two_halves_are_combined() -> None:
    rng = np.random.default_rng(2)
    halves = [_Logits(rng.normal(size=100), rng.normal(size=100), {}) for _ in range(2)]
    alone = [_result([half]).p_value for half in halves]
    assert _result(halves).p_value == pytest.approx(min(1.0, 2 * min(alone)))


@pytest.mark.usefixtures("quick")
def test_the_whole_procedure_raises_few_false_alarms() -> None:
    rng = np.random.default_rng(3)
    alarms = certified = 0
    for k in range(40):
        found = certified_jsd(rng.normal(size=(160, 3)), rng.normal(size=(160, 3)), seed=k, cross_fit=k % 2 == 0)
        alarms += found.p_value < 0.05
        certified += found.certified > 0
    # 7 or more of 40 at 5% have a probability of 0.3%.
    assert alarms < 7
    assert certified < 6


@pytest.mark.usefixtures("quick")
def test_cross_fit_uses_every_row_and_narrows_the_interval() -> None:
    real, fake = _gaussian(4001, 1), _gaussian(4000, 2, 1.0)
    one, both = certified_jsd(real, fake), certified_jsd(real, fake, cross_fit=True)
    assert (one.bound.details["n_real"], both.bound.details["n_real"]) == (2001, 4001)
    assert both.bound.standard_error == pytest.approx((one.bound.standard_error or 0) / math.sqrt(2), rel=0.1)
    assert abs(both.bound.value - 0.1114) < 0.03


def test_unequal_numbers_count_the_same() -> None:
    found = certified_jsd(_gaussian(6000, 1), _gaussian(2000, 2, 1.0))
    assert abs(found.bound.value - 0.1114) < 3 * (found.bound.standard_error or 0)
    assert found.accuracy.details["n"] == 2000


@pytest.mark.usefixtures("quick")
def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    real, fake = _gaussian(400, 1), _gaussian(400, 2, 1.0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = certified_jsd(real, fake, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert certified_jsd(real, fake, seed=1) == first
    assert certified_jsd(torch.from_numpy(real), torch.from_numpy(fake), seed=1) == first
    assert certified_jsd(real, fake, seed=2) != first


def test_trees_see_what_a_network_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = _mixture(3000, 1, 8, 0.01), _mixture(3000, 2, 8, 0.02)
    # log p / q has the same form at every mode, a hundredth of the spread of the data wide; truth .1733.
    assert 0.11 < certified_jsd(real, fake).bound.value < 0.19
    monkeypatch.setattr(probe, "TREE_FEATURES", 0)
    assert certified_jsd(real, fake).bound.value < 0.05


def _digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    return (bunch.images[order] * 15).astype(np.uint8)[:, None], bunch.target[order]


@pytest.mark.usefixtures("quick")
def test_images() -> None:
    x, _ = _digits()
    noise = np.random.default_rng(1).normal(0, 20, x[900:].shape)
    noisy = np.clip(x[900:] + noise, 0, 255).astype(np.uint8)
    found = certified_jsd(x[:900], noisy)
    assert {"weight convolutional", "weight connected"} <= set(found.bound.details)
    assert found.certified > 0.5
    assert "limitation" in found.bound.details
    same = certified_jsd(x[:900], x[900:])
    assert same.certified == 0
    assert same.p_value > 0.01


@pytest.mark.usefixtures("quick")
def test_features_are_a_view_that_may_help() -> None:
    x, y = _digits()
    # The rows are noise; a feature tells the class, and the generated ones have even classes only.
    rows = np.random.default_rng(1).normal(size=(len(x), 5)).astype(np.float32)
    table = np.eye(10, dtype=np.float32)[y]
    real, fake = np.arange(900), np.flatnonzero(y[900:] % 2 == 0) + 900
    without = certified_jsd(rows[real], rows[fake])
    found = certified_jsd(rows[real], rows[fake], features=(table[real], table[fake]))
    p, q = np.full(10, 0.1), np.where(np.arange(10) % 2 == 0, 0.2, 0.0)
    assert without.certified == 0
    assert abs(found.bound.value - theory.jsd(p, q, 1.0)) < 0.06


def test_a_network_is_kept_as_it_was_before_it_learnt_its_rows_by_heart() -> None:
    rng = np.random.default_rng(0)
    train, inner = (probe._Labelled([rng.normal(size=(n, 40))], [rng.normal(size=(n, 40))]) for n in (100, 400))
    member = probe._train_network(train, inner, 0, 1, probe._connected, probe._Recipe(300, 50, 3e-3))

    def loss(rows: probe._Labelled) -> float:
        return float(np.logaddexp(0, -(2 * rows.y - 1) * member(rows.views)).mean())

    # After 300 steps it would be far above log 2 on rows it has not seen.
    assert loss(inner) < 1.0


def test_stack_calibrates() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 40_000)
    labels = (rng.random(40_000) < 1 / (1 + np.exp(-truth))).astype(float)
    weights, offset = stack((truth * 3 + 6)[None], labels, np.ones(40_000))
    assert weights[0] == pytest.approx(1 / 3, rel=0.03)
    assert offset == pytest.approx(-2, abs=0.1)
    weights, offset = stack(np.stack([truth, rng.normal(size=40_000), -truth]), labels, np.ones(40_000))
    assert min(weights) >= 0
    assert weights[0] - weights[2] == pytest.approx(1, rel=0.03)
    assert weights[1] < 0.05


@pytest.mark.usefixtures("quick")
def test_logits_are_bounded() -> None:
    found = train_probe([_square(200, 1, 0) * 1e6], [_square(200, 1, 2) * 1e6], 0)
    logits = found.logits([np.array([[1e30, -1e30], [0.5, 0.5]])])
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() <= probe.LARGEST_LOGIT


def test_what_cannot_be_compared() -> None:
    x = _gaussian(100, 1)
    broken = x.copy()
    broken[3] = np.nan
    with pytest.raises(DataError, match="1 generated rows hold values that are not finite"):
        certified_jsd(x, broken)
    with pytest.raises(DataError, match="39 generated rows, but a probe needs at least 40"):
        certified_jsd(x, x[:39])
    with pytest.raises(DataError, match="rows of shape"):
        certified_jsd(x, np.zeros((100, 2)))
    with pytest.raises(DataError, match="only one of them is in"):
        certified_jsd(np.zeros((50, 3), np.uint8), np.zeros((50, 3)))
    with pytest.raises(DataError, match="99 rows of features for 100 generated rows"):
        certified_jsd(x, x, features=(x, x[:99]))


def test_certified_is_never_below_zero() -> None:
    bad = _result([_Logits(np.full(50, -3.0), np.full(50, 3.0), {})])
    assert isinstance(bad, CertifiedJsd)
    assert bad.bound.value < -1
    assert (bad.certified, bad.p_value) == (0.0, 1.0)


@pytest.mark.parametrize(("real", "fake", "remedy"), [(6, 50, "use more data"), (50, 6, "draw more")])
def test_only_generated_rows_can_be_drawn(real: int, fake: int, remedy: str) -> None:
    with pytest.raises(DataError, match=f"there are 6 .* at least 40: {remedy}$"):
        certified_jsd(np.zeros((real, 3)), np.ones((fake, 3)))
