"""Precision, recall, density, coverage: direct formulas, golden values, constructed collapses, coverage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import neighbours
from saddlepoint.metrics.manifold import coverage, density, manifold, precision, recall

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
CASES = ("same", "shifted", "wider", "narrower", "half_the_modes")


def direct(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The four formulas as they stand, by subtraction, without blocks."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(2)

    def radii(a: np.ndarray) -> np.ndarray:
        table = distances(a, a)
        np.fill_diagonal(table, np.inf)
        return np.sort(table, 1)[:, k - 1]

    inside_real = distances(real, fake) <= radii(real)[:, None]
    inside_fake = distances(fake, real) <= radii(fake)[:, None]
    return {
        "precision": inside_real.any(0).mean(),
        "recall": inside_fake.any(0).mean(),
        "density": inside_real.sum() / (k * len(fake)),
        "coverage": inside_real.any(1).mean(),
    }


def _values(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    return {name: found.value for name, found in manifold(real, fake, precision_k=k, density_k=k).items()}


@pytest.mark.parametrize("case", CASES)
def test_golden_values(case: str) -> None:
    with np.load(GOLDEN / "features.npz") as file:
        real, fake = file[f"{case}.real"], file[f"{case}.fake"]
    reference = json.loads((GOLDEN / "reference.json").read_text())["cases"][case]
    ours = _values(real, fake, 5)
    assert ours == pytest.approx(reference["prdc_k5"], rel=1e-5)
    # torch-fidelity swaps the names when it is given real features first.
    found = manifold(real, fake)
    assert found["precision"].value == pytest.approx(reference["recall"], rel=1e-5)
    assert found["recall"].value == pytest.approx(reference["precision"], rel=1e-5)
    assert found["density"].value == ours["density"]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.tuples(st.integers(7, 40), st.integers(7, 40)),
    d=st.integers(1, 8),
    k=st.integers(1, 5),
    whole=st.booleans(),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_agrees_with_the_direct_formulas(
    seed: int, sizes: tuple[int, int], d: int, k: int, whole: bool, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(sizes[0], d)), 1.3 * rng.normal(size=(sizes[1], d))
    if whole:
        # Many ties and copies, within and across the sets: closed balls must hold their spheres.
        real, fake = np.rint(real), np.rint(fake)
        assert _values(real + offset, fake + offset, k) == pytest.approx(direct(real, fake, k), rel=1e-12)
    else:
        assert _values(real, fake, k) == pytest.approx(direct(real, fake, k), rel=1e-12)


def test_single_functions_equal_the_common_one() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(600, 3)), rng.normal(size=(550, 3)) + 0.5
    found = manifold(real, fake)
    assert found["precision"] == precision(real, fake)
    assert found["recall"] == recall(real, fake)
    assert found["density"] == density(real, fake)
    assert found["coverage"] == coverage(real, fake)
    assert [part.details["k"] for part in found.values()] == [3, 3, 5, 5]
    assert found["recall"].details["n_real"] == 600


@pytest.mark.parametrize(("table", "rows"), [(1, 60), (500, 60), (20_000, 520)])
def test_block_size_does_not_matter(table: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(rows, 6)), rng.normal(size=(rows - 10, 6))
    base = manifold(real, fake)
    monkeypatch.setattr(neighbours, "_TABLE", table)
    assert manifold(real, fake) == base


def test_order_type_shift_and_scale_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(510, 4)).astype(np.float32), rng.normal(size=(530, 4)).astype(np.float32)
    base = manifold(real, fake)
    assert manifold(torch.from_numpy(real), torch.from_numpy(fake)) == base
    shuffled = manifold(real[rng.permutation(510)], fake[rng.permutation(530)])
    for name, found in shuffled.items():
        assert found.value == base[name].value
        assert found.interval == pytest.approx(base[name].interval, rel=1e-9)
    for other in (manifold(real * 4, fake * 4), manifold(real.astype(np.float64) + 64, fake.astype(np.float64) + 64)):
        assert {name: found.value for name, found in other.items()} == {
            name: found.value for name, found in base.items()
        }


def test_swapping_the_sets_swaps_precision_and_recall() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(500, 3)), 0.5 * rng.normal(size=(600, 3))
    assert precision(a, b).value == recall(b, a).value > recall(a, b).value
    assert precision(a, b).interval == recall(b, a).interval


def test_a_collapse_to_good_samples_has_high_precision_and_low_recall() -> None:
    rng = np.random.default_rng(4)
    centres = 20 * np.eye(10)
    real = centres[rng.integers(0, 10, 1000)] + rng.normal(size=(1000, 10))
    fake = centres[np.zeros(1000, int)] + rng.normal(size=(1000, 10))
    found = manifold(real, fake)
    assert found["precision"].interval[0] > 0.5
    assert found["recall"].interval[1] < 0.12
    assert found["coverage"].interval[1] < 0.2
    # To one point: every sample is a copy of a real one, so it is in a ball; no other real row is in a ball of it.
    point = np.repeat(real[:1], 1000, 0)
    found = manifold(real, point)
    assert found["precision"].value == 1
    assert found["recall"].value == 0.001
    assert found["coverage"].value < 0.05


def test_noise_far_away_has_nothing() -> None:
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(500, 3)), rng.normal(size=(500, 3)) + 100
    found = manifold(real, fake)
    assert [part.value for part in found.values()] == [0, 0, 0, 0]
    for part in found.values():
        assert part.interval[0] == pytest.approx(0, abs=1e-12)
        assert 0 < part.interval[1] < 0.03


def test_copies_have_everything() -> None:
    real = np.random.default_rng(6).normal(size=(500, 30))
    found = manifold(real, real)
    assert found["precision"].value == found["recall"].value == found["coverage"].value == 1
    # Each ball holds its centre and its five neighbours, so a row is in six balls on average.
    assert found["density"].value == pytest.approx(6 / 5)


def test_equal_distributions_have_the_known_expectations() -> None:
    rng, found = np.random.default_rng(7), []
    for _ in range(40):
        found.append(_values(rng.normal(size=(200, 3)), rng.normal(size=(150, 3)), 5))
    n, m, k = 200, 150, 5
    missed = np.prod([(n - 1 - i) / (n + m - 1 - i) for i in range(k)])
    mean = {name: np.mean([values[name] for values in found]) for name in found[0]}
    error = {name: np.std([values[name] for values in found]) / np.sqrt(40) for name in found[0]}
    assert abs(mean["coverage"] - (1 - missed)) < 4 * error["coverage"]
    # A generated row is in the ball of a real one with probability k / n.
    assert abs(mean["density"] - 1) < 4 * error["density"]


@pytest.mark.parametrize("repetitions", [50, pytest.param(800, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", ["equal", "narrow"])
def test_intervals_cover_the_expected_figure(case: str, repetitions: int) -> None:
    rng, found = np.random.default_rng(8), []
    for _ in range(repetitions):
        real, fake = rng.normal(size=(500, 4)), rng.normal(size=(500, 4)) * (0.7 if case == "narrow" else 1.0)
        found.append(manifold(real, fake))
    for name in found[0]:
        expected = np.mean([part[name].value for part in found])
        spread = np.std([part[name].value for part in found])
        error = np.mean([part[name].standard_error for part in found])
        # the spread of 50 figures is known to a tenth
        assert 0.7 < error / spread < 1.45, name
        covered = np.mean([part[name].interval[0] <= expected <= part[name].interval[1] for part in found])
        assert covered >= (0.86 if repetitions < 100 else 0.9), name


def test_standard_error_of_density_in_the_plane() -> None:
    # The jackknife alone overstates it by a third here.
    rng = np.random.default_rng(12)
    found = [density(rng.normal(size=(500, 2)), rng.normal(size=(500, 2))) for _ in range(60)]
    ratio = np.mean([part.standard_error for part in found]) / np.std([part.value for part in found])
    assert 0.78 < ratio < 1.22


def test_few_rows_have_values_and_no_interval() -> None:
    rng = np.random.default_rng(9)
    for part in manifold(rng.normal(size=(499, 2)), rng.normal(size=(800, 2))).values():
        assert part.interval is None
        assert part.standard_error is None
        assert "499 rows are too few" in str(part.details["limitation"])


def test_refuses_what_it_cannot_measure() -> None:
    good = np.random.default_rng(10).normal(size=(6, 2))
    assert precision(good, good, k=5).value == 1
    with pytest.raises(DataError, match="k = 6 needs at least 7"):
        coverage(good, good, k=6)
    with pytest.raises(ConfigError, match="k is 0"):
        precision(good, good, k=0)
    with pytest.raises(DataError, match="equal"):
        recall(good, good[:, :1])
    with pytest.raises(DataError, match="not finite"):
        density(good, good * np.nan)
