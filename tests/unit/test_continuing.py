"""Series that go on, holes that are filled, long series: against the exact law of an autoregression, whose fresh draws
are what a perfect generator gives.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from saddlepoint.run import continuing
from saddlepoint.run.continuing import Source, conditioned, continued, filled, joined, long_series, nearest

PHI, TIME = 0.9, 16


def _autoregressions(n: int, first: int, number: int) -> np.ndarray:
    """Two features: an AR(1) of variance 1, and twice the value of the first a step before."""
    rng = np.random.default_rng([first, number])
    x = np.empty((n, TIME + 1))
    x[:, 0] = rng.standard_normal(n)
    for t in range(1, TIME + 1):
        x[:, t] = PHI * x[:, t - 1] + np.sqrt(1 - PHI**2) * rng.standard_normal(n)
    return np.stack([x[:, 1:], 2 * x[:, :-1]], 2).astype(np.float32)


PERFECT = Source(_autoregressions, TIME, 2)


def test_neighbours_are_those_of_all_distances_over_what_is_known() -> None:
    rng = np.random.default_rng(0)
    known, windows, scale = rng.normal(size=(3, 5, 2)), rng.normal(size=(40, 5, 2)), np.array([1.0, 3.0])
    known[:, 3:] = np.nan
    known[:, 1, 1] = np.nan
    found = nearest(known, windows, scale, 4)
    for row in range(3):
        distances = [np.nansum(((known[row] - window) / scale) ** 2) for window in windows]
        assert found[row].tolist() == np.argsort(distances)[:4].tolist()


def test_a_lack_runs_straight_between_given_steps_and_fades_beyond() -> None:
    made = np.zeros((1, 8, 2))
    given = np.full((1, 8, 2), np.nan)
    given[0, [2, 5], 0] = 1.0, 4.0
    given[0, 2, 1] = 7.0
    found = joined(made, given, np.array([2.0, np.inf]), 1)
    assert found[0, 2:6, 0] == pytest.approx([1, 2, 3, 4])
    assert found[0, [1, 0], 0] == pytest.approx(np.exp([-0.5, -1]))
    assert found[0, [6, 7], 0] == pytest.approx(4 * np.exp([-0.5, -1]))
    assert found[0, :, 1].tolist() == [0, 0, 7, 0, 0, 0, 0, 0], "what is no number is put in, and nothing is moved"


def test_what_follows_given_rows_has_the_mean_and_the_spread_that_the_process_has() -> None:
    past = np.array([[0.5, 0.0], [1.5, 1.0], [1.8, 3.0], [2.0, 3.6]])
    found = continued(PERFECT, past, 400, 12, 0)
    assert found.shape == (400, 12, 2)
    for step in (1, 3, 8):
        values = found[:, step - 1, 0]
        assert values.mean() == pytest.approx(2 * PHI**step, abs=0.2)
        assert values.std() == pytest.approx(np.sqrt(1 - PHI ** (2 * step)), rel=0.25)
    # The second feature follows the first one by its rule, from the last given row on.
    assert found[:, 0, 1].mean() == pytest.approx(4.0, abs=0.3)
    assert found[:, 0, 1].std() < 0.8, "of its deviation of 2"
    # Of a past of zeros the mean is zero: the given rows are what moves it.
    assert abs(continued(PERFECT, 0 * past, 400, 12, 0)[:, 0, 0].mean()) < 0.15


def test_holes_are_filled_as_a_bridge_between_what_stands_around_them() -> None:
    x = np.full((12, 2), np.nan)
    x[:4, 0], x[9:, 0] = 1.0, -1.0
    found = filled(PERFECT, x, 300, 0)[..., 0]
    # The bridge of an AR(1) from a to b: its mean is a sum of hyperbolic sines of the distances to both ends.
    rate, steps = -np.log(PHI), np.arange(1, 6)
    mean = (np.sinh(rate * (6 - steps)) - np.sinh(rate * steps)) / np.sinh(6 * rate)
    assert found[:, 4:9].mean(0) == pytest.approx(mean, abs=0.2)
    # In the middle, three steps from both ends: 1 less what two values of correlation phi^6 say of it.
    deviation = np.sqrt(1 - 2 * PHI**6 / (1 + PHI**6))
    assert found[:, 6].std() == pytest.approx(deviation, rel=0.25)
    assert np.array_equal(found[:, :4], np.ones((300, 4)))
    assert np.array_equal(found[:, 9:], -np.ones((300, 3)))
    assert len(np.unique(found[:, 6])) > 250, "samples, not one mean"


@pytest.mark.parametrize(
    ("series", "most", "values", "wanted"),
    [
        (1, 50_000, 2**25, 10_000), (1, 3000, 2**25, 3000), (1, 50_000, 700 * TIME * 2, 700), (1, 50_000, 1, 200),
        (3, 50_000, 2**25, 2000), (3, 50_000, 90 * TIME * 2, 90), (3, 50_000, 1, 20),
    ],
)  # fmt: skip
def test_windows_are_drawn_within_memory_and_twice_as_many_as_are_near(
    series: int, most: int, values: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuing, "MOST_DRAWN", most)
    monkeypatch.setattr(continuing, "MOST_VALUES", values)
    counts: list[int] = []

    def draw(n: int, first: int, number: int) -> np.ndarray:
        counts.append(n)
        return _autoregressions(n, first, number)

    given = np.full((series, TIME, 2), np.nan)
    given[:, :4] = 0.0
    assert conditioned(Source(draw, TIME, 2), given, 3, 0, 0, 0).shape == (3, TIME, 2)
    assert counts == [wanted]


@pytest.mark.parametrize("rows", [5, 40, 75])
def test_tables_of_any_length_are_filled_and_given_values_stay(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = np.stack([np.sin(np.arange(rows)), np.cos(np.arange(rows))], 1)
    whole = x.copy()
    x[rng.random(x.shape) < 0.3] = np.nan
    x[rows // 2 : rows // 2 + 20, 0] = np.nan
    found = filled(PERFECT, x, 7, 0)
    assert found.shape == (7, rows, 2)
    assert np.isfinite(found).all()
    there = ~np.isnan(x)
    assert (found[:, there] == whole[there]).all()


def test_long_series_have_no_seams_and_the_law_of_the_process() -> None:
    x = long_series(PERFECT, 5, 1200, 3)
    assert x.shape == (5, 1200, 2)
    joint = np.zeros(1199, bool)
    joint[TIME - 1 :: TIME - TIME // continuing.OVERLAP] = True
    steps = np.diff(x[..., 0], axis=1)
    at, elsewhere = steps[:, joint].ravel(), steps[:, ~joint].ravel()
    assert len(at) > 450
    assert stats.ks_2samp(at, elsewhere).pvalue > 0.01
    assert at.std() == pytest.approx(np.sqrt(2 * (1 - PHI)), rel=0.12)
    assert x[..., 0].std() == pytest.approx(1, rel=0.12)
    lagged = np.corrcoef(x[:, :-1, 0].ravel(), x[:, 1:, 0].ravel())[0, 1]
    assert lagged == pytest.approx(PHI, abs=0.03)
    # Without care for the joint there is one: stretches that do not know one another jump.
    blind = np.concatenate([_autoregressions(5, 0, k) for k in range(70)], 1)[:, :1200, 0]
    seams = np.diff(blind, axis=1)[:, TIME - 1 :: TIME].ravel()
    assert stats.ks_2samp(seams, elsewhere).pvalue < 1e-6


def test_long_series_stay_where_the_generator_is() -> None:
    """What is added at the joints would carry a slow series out of its range, a little at each."""

    def bounded(n: int, first: int, number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        x = np.cumsum(rng.normal(0, 0.05, (n, TIME, 1)), 1) + rng.random((n, 1, 1))
        return np.abs((x + 1) % 2 - 1).astype(np.float32)  # a walk between two mirrors

    x = long_series(Source(bounded, TIME, 1), 10, 1500, 0)
    assert x.min() >= 0
    assert x.max() <= 1
    assert stats.ks_1samp(x[:, ::150].ravel(), stats.uniform.cdf).statistic < 0.2


@pytest.mark.parametrize("level", [30.0, -30.0])
def test_a_past_beyond_all_that_the_generator_makes_keeps_its_level(level: float) -> None:
    past = np.full((8, 2), level) + np.linspace(-0.2, 0.2, 8)[:, None] * [1, 2]
    found = continued(PERFECT, past, 200, 8, 0)
    assert found[:, 0, 0].mean() == pytest.approx(level + 0.2, abs=0.5)
    assert found[:, -1, 0].mean() == pytest.approx(level + 0.2, abs=1.0)


def test_series_that_end_go_on_no_more_and_end_as_the_data_do() -> None:
    def ragged(n: int, first: int, number: int) -> np.ndarray:
        x = _autoregressions(n, first, number)
        ends = np.random.default_rng(number).choice([6, 10, TIME], n)
        x[np.arange(TIME) >= ends[:, None]] = np.nan
        return x

    source = Source(ragged, TIME, 2)
    found = long_series(source, 300, 40, 0)
    lengths = (~np.isnan(found[..., 0])).sum(1)
    assert (lengths == 6).mean() == pytest.approx(1 / 3, abs=0.1)
    after = continued(source, np.zeros((8, 2)), 200, 8, 0)
    left = (~np.isnan(after[..., 0])).sum(1)
    assert set(left.tolist()) == {2, 8}, "what had ended before the eighth row cannot go on from it"
    assert (left == 2).mean() == pytest.approx(0.5, abs=0.15)


def test_nothing_known_is_a_plain_sample_and_every_seed_is_another() -> None:
    nothing = np.full((1, TIME, 2), np.nan)
    found = conditioned(PERFECT, nothing, 50, 0, 0, 0)
    assert found.shape == (50, TIME, 2)
    past = np.zeros((4, 2))
    first, again, other = (continued(PERFECT, past, 20, 12, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
