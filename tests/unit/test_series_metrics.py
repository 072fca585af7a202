"""Figures of time series against closed forms, known processes, and planted failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from saddlepoint.core.errors import DataError
from saddlepoint.metrics import series, series_baselines, series_scores, windows
from saddlepoint.metrics.memorisation import memorisation
from saddlepoint.metrics.recurrent import Recurrent, _Recurrence, minibatches


def _walks(n: int, steps: int, matrix: np.ndarray, seed: int, burn: int = 50) -> np.ndarray:
    """A stationary vector autoregression of order 1 with unit normal residuals: (n, steps, feature)."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, steps + burn, len(matrix)))
    for t in range(1, steps + burn):
        x[:, t] = x[:, t - 1] @ matrix.T + rng.normal(size=(n, len(matrix)))
    return x[:, burn:]


def _series_windows(rows: int = 400, seed: int = 0) -> np.ndarray:
    """Overlapping windows of 12 steps of one smooth series of 2 features in [0, 1]."""
    x = _walks(1, rows + 11, np.array([[0.95, 0.0], [0.4, 0.5]]), seed)[0]
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    return x[np.arange(rows)[:, None] + np.arange(12)].astype(np.float32)


def _cut(x: np.ndarray, seed: int = 0) -> np.ndarray:
    ends = np.random.default_rng(seed).integers(6, x.shape[1] + 1, len(x))
    return np.where((np.arange(x.shape[1]) < ends[:, None])[..., None], x, np.nan)


def test_the_hand_written_gradient_is_the_gradient() -> None:
    torch.manual_seed(0)
    shapes = ((4, 2, 9, 5), (2, 6, 3), (2, 3, 3))
    assert torch.autograd.gradcheck(
        _Recurrence.apply, tuple(torch.randn(s, dtype=torch.double, requires_grad=True) for s in shapes)
    )


def test_a_network_of_an_ensemble_computes_the_equations_of_the_gru() -> None:
    network = Recurrent(2, 3, 4, 1, torch.Generator().manual_seed(1))
    x = torch.rand(5, 2, 3, 6)
    states = network.states(x).detach()
    w, u, c, b = (getattr(network, name).detach()[1] for name in ("entry", "gates", "candidate", "offset"))
    h = torch.zeros(4, 6)
    for t in range(5):
        driven = w @ x[t, 1] + b
        r, z = torch.sigmoid(driven[:8] + u @ h).split(4)
        h = z * h + (1 - z) * torch.tanh(driven[8:] + c @ (r * h))
        torch.testing.assert_close(states[t, 1], h)
    ends = torch.tensor([[4, 0, 1, 2, 3, 4]] * 2)
    torch.testing.assert_close(network.last(x, ends)[1, 0, 1], network.every(x)[0, 1, 0, 1])
    assert b[:8].eq(1).all()
    assert b[8:].eq(0).all()


def test_minibatches_go_through_every_part_without_repetition() -> None:
    draws = minibatches([np.arange(10), np.arange(10, 20)], 5, np.random.default_rng(0))
    first, second = next(draws), next(draws)
    assert sorted(np.concatenate([first[1], second[1]])) == list(range(10, 20))


def test_autocorrelation_of_a_process_of_order_1_is_its_power() -> None:
    x = _walks(40, 4_000, np.array([[0.8]]), 0)
    found = series.autocorrelations(x, 4).mean(0)[:, 0]
    assert found == pytest.approx(0.8 ** np.arange(1, 5), abs=0.01)


def test_autocorrelation_of_a_sine_is_a_cosine_less_the_lost_overlap() -> None:
    phases = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = np.sin(2 * np.pi * 2 / 24 * np.arange(24) + phases[:, None])[..., None]
    lags = np.arange(1, 13)
    expected = (1 - lags / 24) * np.cos(2 * np.pi * 2 / 24 * lags)
    assert series.autocorrelations(x, 12).mean(0)[:, 0] == pytest.approx(expected, abs=1e-12)


def test_cross_correlation_finds_the_lag_by_which_a_feature_follows() -> None:
    base = np.random.default_rng(0).normal(size=(200, 60))
    x = np.stack([base[:, 2:], base[:, :-2]], 2)
    found = series.cross_correlations(x, 4).mean(0)[0]
    assert int(found.argmax()) - 4 == 2
    assert found.max() == pytest.approx(56 / 58, abs=0.02)
    assert series.cross_correlation_distance(x, x[..., ::-1]).value > 0.15


def test_distances_of_distributions_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 10, 2)), rng.normal(0.3, 1.2, size=(250, 10, 2))
    wasserstein, kolmogorov = series.marginal_distance(a, b)
    pairs = [(a[..., k].ravel(), b[..., k].ravel()) for k in range(2)]
    expected = np.mean([stats.wasserstein_distance(p, q) / p.std() for p, q in pairs])
    assert wasserstein.value == pytest.approx(expected, rel=0.02)
    assert kolmogorov.value == pytest.approx(np.mean([stats.ks_2samp(p, q).statistic for p, q in pairs]), abs=0.003)
    assert wasserstein.interval is not None
    assert wasserstein.interval[0] < expected < wasserstein.interval[1]
    steps, _ = series.increment_distance(a, b)
    diffs = [(np.diff(a[..., k]).ravel(), np.diff(b[..., k]).ravel()) for k in range(2)]
    assert steps.value == pytest.approx(
        np.mean([stats.wasserstein_distance(p, q) / p.std() for p, q in diffs]), rel=0.03
    )


def test_a_copy_is_at_distance_0_and_a_shuffled_one_only_by_its_values() -> None:
    x, rng = _series_windows(), np.random.default_rng(0)
    copy, mixed = rng.permutation(x), series_baselines.shuffled_in_time(x, rng)
    for distance in (series.acf_distance, series.cross_correlation_distance):
        assert distance(x, copy).value == pytest.approx(0, abs=1e-12)
        assert distance(x, mixed).interval[0] > 0.05  # type: ignore[index]
    assert series.marginal_distance(x, mixed)[0].value == pytest.approx(0, abs=1e-9)
    assert series.increment_distance(x, mixed)[0].value > 0.3
    still = series_baselines.constant_windows(x)
    assert series.acf_distance(x, still).value > 0.5
    assert series.increment_distance(x, still)[1].value > 0.4


def test_short_windows_count_as_far_as_they_go() -> None:
    x = _walks(3_000, 30, np.array([[0.7]]), 3)
    cut = _cut(x)
    assert series.marginal_distance(x, cut)[0].value < 0.03
    assert series.increment_distance(x, cut)[0].value < 0.03
    whole = np.stack(
        [series.autocorrelations(w[None, : int(n)], 3)[0] for w, n in zip(x, windows.window_lengths(cut), strict=True)]
    )
    assert series.autocorrelations(cut, 3) == pytest.approx(whole)
    assert (
        windows.window_lengths(series_baselines.shuffled_in_time(cut, np.random.default_rng(0)))
        == windows.window_lengths(cut)
    ).all()


@pytest.mark.parametrize("where", [(0, 3, 0), (0, slice(0, 2)), (0, slice(None))])
def test_other_nan_than_after_the_end_is_refused(where: tuple[object, ...]) -> None:
    x = _series_windows(20)
    x[where] = np.nan
    with pytest.raises(DataError, match="1 of 20"):
        series.acf_distance(x, x)


def test_no_window_of_one_part_shares_a_point_with_the_other() -> None:
    values = np.random.default_rng(0).normal(size=(611, 1))
    for stride, far in ((1, 11), (3, 3), (12, 0)):
        index = np.arange(0, 600, stride)[:, None] + np.arange(12)
        x = values[index]
        assert windows.reach(x) == far
        first, second = windows.divide(x, np.random.default_rng(1))
        assert not set(index[first].ravel()) & set(index[second].ravel())
        assert len(second) == pytest.approx(0.2 * len(x), rel=0.2)
        assert len(first) > 0.3 * len(x)


def test_random_parts_hold_every_row_once() -> None:
    for n, first in ((10, 8), (503, 402)):
        parts = series_scores._random_parts(n, 5, np.random.default_rng(2))
        assert len({train.tobytes() for train, _ in parts}) == len(parts) == 5
        for train, test in parts:
            assert len(train) == first
            assert sorted([*train, *test]) == list(range(n))


@pytest.mark.parametrize("count", [2, 4])
def test_windows_of_many_short_series_are_divided_within_each(count: int) -> None:
    """The next series begins where no point is shared: there nothing is left out."""
    starts = (30 * np.arange(100)[:, None] + np.arange(count)).ravel()
    index = starts[:, None] + np.arange(12)
    x = np.random.default_rng(0).normal(size=(3_000, 1))[index]
    assert windows.reach(x) == 11
    first, second = windows.divide(x, np.random.default_rng(1))
    assert not set(index[first].ravel()) & set(index[second].ravel())
    assert len(second) == pytest.approx(0.2 * len(x), rel=0.3)
    assert len(first) > 0.6 * len(x)


def test_a_score_of_a_copy_is_chance_and_of_noise_a_half() -> None:
    x, rng = np.random.default_rng(0).random((600, 8, 2)), np.random.default_rng(1)
    copy = series_scores.discriminative(x, rng.permutation(x), iterations=60)
    assert abs(copy.value) < 0.06
    far = series_scores.discriminative(x, x + 2, iterations=60)
    assert far.value == pytest.approx(0.5, abs=0.01)
    old = series_scores.discriminative_2019(x, x + 2, runs=3, iterations=1_000)
    assert old.value > 0.45
    assert series_scores.discriminative_2019(x, rng.permutation(x), runs=3, iterations=100).value < 0.06


def test_32_units_see_the_shuffle_that_the_score_of_2019_does_not() -> None:
    """Levels range far more widely than steps, as prices do."""
    rng = np.random.default_rng(0)
    x = (np.cumsum(rng.normal(0, 0.003, (1_500, 12, 6)), 1) + rng.random((1_500, 1, 6))).astype(np.float32)
    mixed = series_baselines.shuffled_in_time(rng.permutation(x), rng)
    assert series_scores.discriminative_2019(x, mixed, runs=3, iterations=300).value < 0.08
    assert series_scores.discriminative(x, mixed, iterations=150).value > 0.3


def test_predictive_score_of_a_feature_that_the_others_determine() -> None:
    rng = np.random.default_rng(0)
    level = rng.random((500, 1, 1))
    x = np.repeat(np.repeat(level, 6, 1), 4, 2)
    assert series_scores.predictive_2019(x, x, runs=2, iterations=800).value < 0.17
    # A generator that turns the sign of the relation teaches the opposite: |1 - 2 u| is .5 in the mean.
    turned = x.copy()
    turned[..., -1] = 1 - turned[..., -1]
    assert series_scores.predictive_2019(x, turned, runs=2, iterations=800).value == pytest.approx(0.5, abs=0.15)
    with pytest.raises(DataError, match="only one"):
        series_scores.predictive_2019(x[..., :1], x[..., :1], runs=2, iterations=2)


def test_a_forecast_learned_from_the_process_beats_no_change_and_reaches_the_best_error() -> None:
    """x_t = .2 x_(t-1) + e: the best absolute error is E|e| = sqrt(2 / pi) over the deviation of changes."""
    train, test = (_walks(800, 12, np.array([[0.2]]), seed) for seed in (0, 1))
    found, still = series_scores.forecast_error(test, train, iterations=150)
    scale = np.diff(test, axis=1).std()
    assert found.value == pytest.approx(np.sqrt(2 / np.pi) / scale, rel=0.03)
    assert still == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)
    mixed = series_baselines.constant_windows(train)
    assert series_scores.forecast_error(test, mixed, iterations=50)[0].value > 1.05 * found.value


def test_a_forecast_is_trained_as_its_protocol_says() -> None:
    """A figure of one protocol stays what it was: minibatches, draws and rates are part of it."""
    train, test = (_walks(600, 12, np.array([[0.2]]), seed) for seed in (0, 1))
    found, _ = series_scores.forecast_error(test, train, iterations=40)
    assert found.value == pytest.approx(0.64484, abs=5e-4)


def test_what_did_not_vary_in_training_does_not_enter_a_forecast() -> None:
    train, test = (_walks(400, 12, np.array([[0.2]]), seed) for seed in (0, 1))
    fee, later = np.zeros_like(train), np.full_like(test, 250.0)
    later[::2] = 249.0
    alone = series_scores.forecast_error(test, train, iterations=100)[0].value
    beside = series_scores.forecast_error(
        np.concatenate([test, later], 2), np.concatenate([train, fee], 2), iterations=100
    )[0].value
    assert beside == pytest.approx(alone, rel=0.05)


def test_autoregression_recovers_its_coefficients_and_order() -> None:
    matrix = np.array([[0.6, 0.3], [-0.2, 0.5]])
    fitted = series_baselines.fit_autoregression(_cut(_walks(2_000, 24, matrix, 0)))
    assert len(fitted.coefficients) == 1
    assert fitted.coefficients[0] == pytest.approx(matrix, abs=0.02)
    assert np.cov(fitted.residuals.T) == pytest.approx(np.eye(2), abs=0.04)


def test_autoregressive_windows_have_marginals_and_autocorrelation_of_the_data() -> None:
    x = np.exp(_walks(2_000, 24, np.array([[0.7, 0.2], [0.0, 0.6]]), 0))
    made = series_baselines.autoregressive_windows(x, 2_000, np.random.default_rng(0))
    assert series.marginal_distance(x, made)[1].value < 0.03
    assert series.acf_distance(x, made).value < 0.03
    assert made.min() >= x.min()
    assert made.max() <= x.max()
    assert series.acf_distance(x, series_baselines.shuffled_in_time(x, np.random.default_rng(0))).value > 0.06


@pytest.mark.parametrize("neighbours", [None, 5])
def test_block_bootstrap_keeps_marginals_and_copies_blocks(neighbours: int | None) -> None:
    x = _walks(1_500, 24, np.array([[0.9]]), 0)
    made = series_baselines.block_bootstrap(x, 1_500, np.random.default_rng(0), block=6, neighbours=neighbours)
    assert series.marginal_distance(x, made)[1].value < 0.04
    known = {row.tobytes() for row in np.lib.stride_tricks.sliding_window_view(x[..., 0], 6, 1).reshape(-1, 6)}
    assert all(made[i, 6 * k : 6 * k + 6, 0].tobytes() in known for i in range(20) for k in range(4))
    jumps = np.abs(np.diff(made[..., 0], axis=1))[:, 5::6].mean()
    inside = np.abs(np.diff(made[..., 0], axis=1))[:, 2].mean()
    assert (jumps < 1.2 * inside) == (neighbours is not None)


def test_copies_are_found_by_shape_and_new_windows_are_not() -> None:
    matrix = np.array([[0.9, 0.0], [0.3, 0.6]])
    train, held_out, fresh = (_walks(n, 12, matrix, seed) for n, seed in ((1_200, 0), (400, 1), (400, 2)))
    real = series.shape_nearness(held_out, train)
    assert not memorisation(series.shape_nearness(fresh, train), real, len(train)).copying
    # A copy at another level is still one.
    copied = np.concatenate([train[:60] + 0.5, fresh[:300]])
    found = memorisation(series.shape_nearness(copied, train), real, len(train))
    assert found.copying
    assert found.copies.value == pytest.approx(60 / 360, abs=0.01)


def test_too_few_windows_are_refused_with_what_helps() -> None:
    with pytest.raises(DataError, match="generated windows are 2, but at least 4 are needed: draw more samples"):
        windows.as_windows(np.zeros((2, 24, 1)), "generated windows")
