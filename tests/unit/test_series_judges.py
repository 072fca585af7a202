"""Judges of series where the answer is known: fresh draws of the process are the truth, planted failures are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.series.simulated import PROCESSES, ar2_coefficients
from saddlepoint.data.series.sines import SINES
from saddlepoint.evaluation.measurements.series import FORECAST, against_baselines
from saddlepoint.evaluation.sequences import BASELINES, BOOTSTRAP, HALVES, TRAINING, in_halves
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.contextual import Encoder, context_fid, hierarchical_contrast, moments, trained_encoder
from saddlepoint.metrics.convolutional import DILATIONS, WIDTH, Convolutional
from saddlepoint.metrics.correlational import correlational_score, correlations
from saddlepoint.metrics.recurrent import Recurrent
from saddlepoint.metrics.series_scores import discriminative, discriminative_2019, predictive_2019
from saddlepoint.metrics.windows import halves

STEPS = 16


def _process(name: str, n: int, seed: int) -> np.ndarray:
    """Draw windows of a process, scaled as its data set is, about."""
    rng = np.random.default_rng(seed)
    if name == "sines":
        return SINES["sines-paper"].sample(n, rng, STEPS).astype(np.float64)
    low, high = _RANGES[name]
    return (PROCESSES[name].draw(n, STEPS, rng) - low) / (high - low)


_RANGES = {"ar2": (-12.0, 12.0), "garch": (-6.0, 6.0), "heston": (np.array([80.0, 0.0]), np.array([120.0, 0.2]))}


def _planted(name: str, n: int, seed: int) -> np.ndarray:
    """Draw windows with the values of a process at every step but another law along them."""
    x, rng = _process(name, n, seed), np.random.default_rng(seed)
    if name == "ar2":
        # Of order 1, with the same variance and correlation at lag 1.
        low, high = _RANGES["ar2"]
        made = np.empty_like(x)
        for place, period in enumerate((8.0, 20.0)):
            first, second = ar2_coefficients(period)
            rho, deviation = first / (1 - second), x[..., place].std()
            made[:, 0, place] = deviation * rng.standard_normal(n)
            for t in range(1, STEPS):
                noise = deviation * np.sqrt(1 - rho**2) * rng.standard_normal(n)
                made[:, t, place] = rho * made[:, t - 1, place] + noise
        return made - low / (high - low)
    if name == "heston":
        # Prices beside the variance of another path.
        return np.stack([x[..., 0], np.roll(x[..., 1], 1, 0)[:, ::-1]], 2)
    if name == "garch":
        # Each window has one volatility, and both shares go their own ways.
        return np.stack([x[..., 0], np.roll(x[..., 1], 1, 0)], 2)
    return np.sort(x, 1)


Judge = Callable[[np.ndarray, np.ndarray], Estimate]
NETWORKS: dict[str, Judge] = {
    "64 units": partial(discriminative, units=64, runs=2, iterations=100),
    "convolutions": partial(discriminative, convolutional=True, runs=2, iterations=80),
    "two layers": partial(discriminative_2019, layers=2, runs=3, iterations=300),
}


def _context(real: np.ndarray, fake: np.ndarray) -> Estimate:
    encoders = [trained_encoder(real, iterations=25, seed=k) for k in range(2)]
    return context_fid(moments(encoders, real), moments(encoders, fake))


@pytest.mark.parametrize("name", ["ar2", pytest.param("sines", marks=pytest.mark.slow)])
@pytest.mark.parametrize("judge", list(NETWORKS))
def test_a_judge_that_trains_a_network_tells_another_law_and_not_fresh_draws(judge: str, name: str) -> None:
    real = _process(name, 400, 1)
    truth, planted = (NETWORKS[judge](real, x) for x in (_process(name, 400, 2), _planted(name, 400, 3)))
    assert abs(truth.value) < 0.1
    assert planted.value > (0.03 if judge == "two layers" and name == "ar2" else 0.15)
    assert planted.value > truth.value + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heston", "garch"])
@pytest.mark.parametrize("judge", ["64 units", "convolutions"])
def test_judges_of_paths_of_shares_tell_another_law_and_not_fresh_draws(judge: str, name: str) -> None:
    real = _process(name, 1500, 1)
    truth, planted = (NETWORKS[judge](real, x) for x in (_process(name, 1500, 2), _planted(name, 1500, 3)))
    assert abs(truth.value) < 0.06
    assert planted.value > max(0.1, truth.value + 0.08)


@pytest.mark.parametrize(
    "name", ["ar2", *(pytest.param(n, marks=pytest.mark.slow) for n in ("heston", "garch", "sines"))]
)
def test_context_fid_is_far_smaller_for_fresh_draws_than_for_another_law(name: str) -> None:
    real = _process(name, 300, 1)
    encoders = [trained_encoder(real, iterations=15, seed=k) for k in range(2)]
    own = moments(encoders, real)
    truth, planted = (context_fid(own, moments(encoders, x)) for x in (_process(name, 300, 2), _planted(name, 300, 3)))
    assert context_fid(own, own).value == pytest.approx(0, abs=1e-6)
    assert planted.value > 1.5 * truth.value


@pytest.mark.parametrize("name", ["ar2", "heston", "garch", "sines"])
def test_correlational_score_is_noise_for_fresh_draws_and_blind_to_time(name: str) -> None:
    real, fresh = _process(name, 1000, 1), _process(name, 1000, 2)
    noise = correlational_score(real, fresh).value
    pairs = real.shape[2] * (real.shape[2] - 1) / 2
    assert noise < 0.02 * pairs
    backwards = correlational_score(real, fresh[:, ::-1]).value
    assert backwards == pytest.approx(noise, rel=1e-9)
    # A correlation of -r in the place of r is 2 r off, in each pair with the feature that was turned.
    turned = fresh.copy()
    turned[..., 0] *= -1
    wanted = 2 * np.abs(correlations(real)[[i for i, (_, b) in enumerate(_pairs(real)) if b == 0]]).sum() / 10
    assert correlational_score(real, turned).value == pytest.approx(wanted, abs=0.02 * pairs)


def _pairs(x: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(*np.tril_indices(x.shape[2], -1), strict=True))


def test_predictive_score_of_two_layers_reaches_what_the_process_leaves_to_say() -> None:
    """The last feature is the next value of the first: its best error is 0, and of noise the mean deviation."""
    rng = np.random.default_rng(0)
    first, other, third = rng.uniform(0.2, 0.8, (3, 200, 8))
    x = np.stack([first, other, third, np.roll(first, 1, 1)], 2)
    found = predictive_2019(x, x, layers=2, runs=2, iterations=700)
    assert found.details["layers"] == 2
    assert found.value < 0.6 * np.abs(first - first.mean()).mean()


def test_a_second_layer_reads_the_states_of_the_first() -> None:
    network = Recurrent(2, 3, 4, 1, torch.Generator().manual_seed(1), layers=2)
    one = Recurrent(2, 3, 4, 1, torch.Generator().manual_seed(1))
    x = torch.rand(5, 2, 3, 6)
    torch.testing.assert_close(network.above[0].states(one.states(x)), network.states(x))
    assert torch.equal(one.exit, network.exit), "one layer is drawn as before"


def test_convolutions_are_those_of_pytorch_and_see_nothing_past_the_end() -> None:
    network = Convolutional(2, 3, 4, 1, torch.Generator().manual_seed(0))
    x, ends = torch.rand(9, 2, 3, 5), torch.tensor([[8, 3, 8, 5, 0]] * 2)
    found = network.last(x, ends)
    beyond = torch.where(torch.arange(9)[:, None, None, None] <= ends[None, :, None], x, 7.0)
    torch.testing.assert_close(network.last(beyond, ends), found)
    h = x[:, 1].permute(2, 1, 0)[:1]  # the first row of the second network: whole
    for filters, offset, dilation in zip(network.filters, network.offsets, DILATIONS, strict=True):
        inputs = filters.shape[2] // WIDTH
        kernel = filters[1].view(4, WIDTH, inputs).permute(0, 2, 1)
        h = F.leaky_relu(F.conv1d(h, kernel, offset[1, :, 0], padding=2 * dilation, dilation=dilation), 0.2)
    pooled = torch.cat([h.mean(2), h.amax(2)], 1)
    torch.testing.assert_close(found[1, 0, 0], (pooled @ network.exit[1].T + network.bias[1, 0])[0, 0])


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_contrast_is_the_softmax_over_all_other_rows_at_every_scale(windows: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.normal(size=(windows, 2, 4))) for _ in range(2))

    def one(p: np.ndarray, q: np.ndarray) -> float:
        both, total = np.concatenate([p, q]), 0.0
        for i in range(len(both)):
            alike = np.exp(both @ both[i])
            alike[i] = 0
            total -= np.log(alike[(i + len(p)) % len(both)] / alike.sum())
        return total / len(both)

    wanted, x, y, scales = 0.0, a.numpy(), b.numpy(), 0
    while True:
        steps = x.shape[2]
        if windows > 1:  # one window has no other to be told from
            wanted += 0.5 * np.mean([one(x[:, :, t], y[:, :, t]) for t in range(steps)])
        if steps > 1:
            wanted += 0.5 * np.mean([one(x[i].T, y[i].T) for i in range(windows)])
        scales += 1
        if steps == 1:
            break
        x, y = (np.maximum(z[..., ::2], z[..., 1::2]) for z in (x, y))
    assert float(hierarchical_contrast(a, b)) == pytest.approx(wanted / scales)


def test_an_encoder_is_the_same_for_a_seed_and_does_not_see_past_the_end() -> None:
    x = _process("ar2", 40, 0)
    first, again = (trained_encoder(x, iterations=3, seed=5) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))
    short = x.copy()
    short[:, 10:] = np.nan
    cut = moments([first], short).mean
    assert np.isfinite(cut).all()
    network = Encoder(2, torch.Generator().manual_seed(0))
    seen = torch.ones(1, 1, 10)
    whole, part = (torch.rand(1, 2, 12, generator=torch.Generator().manual_seed(1))[:, :, :k] for k in (12, 10))
    hidden = network(whole, F.pad(seen, (0, 2)))[:, :, :10]
    assert not torch.equal(hidden, network(whole, torch.ones(1, 1, 12))[:, :, :10])
    assert hidden.shape == network(part, seen).shape


def _overlapping(rows: int, steps: int) -> np.ndarray:
    x = np.cumsum(np.random.default_rng(0).normal(size=(rows + steps - 1, 2)), 0)
    return x[np.arange(rows)[:, None] + np.arange(steps)]


def test_halves_share_no_row_and_lie_in_the_whole_time() -> None:
    x = _overlapping(1000, 12)
    first, second = halves(x, np.random.default_rng(0))
    rows = [set((part[:, None] + np.arange(12)).ravel().tolist()) for part in (first, second)]
    assert not rows[0] & rows[1]
    assert abs(len(first) - len(second)) <= 12
    assert len(first) + len(second) > 480
    assert all(part.min() < 250 and part.max() > 750 for part in (first, second))
    with pytest.raises(DataError, match="no two halves"):
        halves(x[:50], np.random.default_rng(0))


def test_halves_of_a_walk_are_told_apart_by_time_alone_where_held_out_windows_are() -> None:
    """A walk drifts: its last part is elsewhere, and both halves of its time are everywhere."""
    x = _overlapping(1200, 12)
    one, other = in_halves(x[:900])
    half = discriminative(one, other, runs=3, iterations=120)
    later = discriminative(x[:900], x[920:], runs=3, iterations=120)
    assert abs(half.value) < 0.2
    assert later.value > 0.3


def test_the_floor_and_copies_of_the_bootstrap_stand_beside_the_figures() -> None:
    x = _overlapping(900, 12).astype(np.float32)
    splits = {"train": Split(x[:600]), "valid": Split(x[640:740]), "test": Split(x[760:])}
    data = Dataset("walk", "sequence", splits, (), "ab" * 32)
    report = ev.evaluate(lambda n, seed: torch.from_numpy(x[:n] + 1), data, ["acf", "increments"])
    floor, copier = report.find("acf", None, HALVES), report.find("acf", None, BOOTSTRAP)
    assert floor is not None
    assert copier is not None
    assert floor.value > 0, "halves are other windows than the training windows"
    training = report.find("acf", None, TRAINING)
    assert training is not None
    assert training.value == pytest.approx(0, abs=1e-9)
    assert copier.details["near copies"] > 0.03
    assert "of it near copies" in report.results[1].verdict or "It beats" in report.results[1].verdict
    assert HALVES in report.results[0].verdict


def test_new_protocols_are_called_by_their_full_names() -> None:
    x = _process("ar2", 60, 0).astype(np.float32)
    data = Dataset("ar", "sequence", {k: Split(x) for k in ("train", "valid", "test")}, (), "ef" * 32)
    bench = ev.sets.Bench(ev.Subject("generator", lambda n, seed: torch.from_numpy(x[:n])), data, 0)
    for kind, name in (
        ("context-fid", "context-fid60_ts2vec-320_train"), ("correlational", "correlational60_lag0_train"),
        ("discriminative-h64", "discriminative-h64_60_blocks_train"),
        ("discriminative-convolutional", "discriminative-convolutional60_blocks_train"),
        ("discriminative-two-layers", "discriminative-two-layers60_random_train"),
        ("predictive-two-layers", "predictive-two-layers60_train"),
    ):  # fmt: skip
        protocol = ev.get_protocol(name)
        assert protocol.kind == kind
        assert protocol.on_request
        assert protocol.full_name(protocol.task(bench)) == name


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.0, "No difference from"), (0.5, "It beats the"), (1.8, "It does not reach the"), (1.2, "No difference from")],
)
def test_a_baseline_is_beaten_beyond_chance_only(value: float, words: str) -> None:
    model = ev.Row(FORECAST.name, "generator", value, 0.1, (value - 0.2, value + 0.2))
    baseline = ev.Row(FORECAST.name, BASELINES[0], 1.0, 0.1, (0.8, 1.2), "control")
    assert against_baselines([model, baseline], FORECAST).startswith(words)
