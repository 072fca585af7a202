"""Power-function averages as arithmetic: lengths, weights, inner products, what is made of kept averages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.power import (
    LENGTHS,
    LONGEST,
    Profile,
    combination,
    gamma_of,
    inner_products,
    kept_share,
    length_of,
)
from saddlepoint.family import FamilyConfig


def density(profile: Profile, at: np.ndarray | float) -> np.ndarray:
    """The profile that a power of time has at its times, 0 after its end."""
    share = np.asarray(at) / profile.time
    return np.where(share <= 1, (profile.gamma + 1) * np.minimum(share, 1) ** profile.gamma / profile.time, 0.0)


def shares(n: int, gamma: float) -> np.ndarray:
    """The weights that w(1) ... w(n) have in the average of all n."""
    edges = (np.arange(n + 1) / n) ** (gamma + 1)
    return np.diff(edges)


@pytest.mark.parametrize(("length", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_pairs_of_the_paper(length: float, gamma: float) -> None:
    assert gamma_of(length) == pytest.approx(gamma, abs=0.005)


@pytest.mark.parametrize("length", [0.001, 0.01, 0.05, 0.1, 0.2, 0.28, LONGEST])
def test_a_length_is_the_deviation_of_its_profile(length: float) -> None:
    """Against moments of the profile by numerical integration; and there and back."""
    gamma = gamma_of(length)
    assert length_of(gamma) == pytest.approx(length, rel=1e-6)
    profile = Profile(gamma, 1.0)
    points = [1 - 50 * length] if 50 * length < 1 else None
    mean, square = (
        quad(lambda t, k=k: t**k * float(density(profile, t)), 0, 1, points=points, limit=200)[0] for k in (1, 2)
    )
    assert (square - mean**2) ** 0.5 == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("length", [0.0, -0.1, 0.29, float("nan"), float("inf")])
def test_no_other_length_has_a_profile(length: float) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0 and at most 0\.2887"):
        gamma_of(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_updates_are_the_weighted_sum(length: float) -> None:
    gamma, values = gamma_of(length), np.random.default_rng(0).normal(size=300)
    average = 0.0
    for n, value in enumerate(values, 1):
        average = kept_share(n, gamma) * average + (1 - kept_share(n, gamma)) * value
        assert average == pytest.approx(float(shares(n, gamma) @ values[:n]), abs=1e-12)


@pytest.mark.parametrize(("ramp", "length"), [(0.1, 0.1111), (0.3, 0.2212)])
def test_a_half_life_that_is_a_share_of_the_samples_is_a_length(ramp: float, length: float) -> None:
    """The averages that the default presets sample from: gamma = log 2 / share - 1."""
    assert length_of(np.log(2) / ramp - 1) == pytest.approx(length, abs=1e-4)
    config, n = FamilyConfig(batch_size=1, ema_ramp=ramp), 5000
    betas = np.array([config.ema_beta(i) for i in range(1, n + 1)])
    weights = (1 - betas) * np.append(np.cumprod(betas[:0:-1])[::-1], 1.0)
    times = np.arange(1, n + 1) / n
    mean = weights @ times / weights.sum()
    assert (weights @ np.square(times - mean) / weights.sum()) ** 0.5 == pytest.approx(length, rel=2e-3)


def test_inner_products_are_integrals() -> None:
    profiles = [Profile(gamma_of(length), time) for length in (0.03, 0.1, 0.25) for time in (0.4, 1.0, 3.0)]
    table = inner_products(profiles, profiles)
    for i, a in enumerate(profiles):
        for j, b in enumerate(profiles):
            end = min(a.time, b.time)
            found = quad(lambda t, a=a, b=b: float(density(a, t) * density(b, t)), 0, end, points=[0.8 * end])[0]
            assert table[i, j] == pytest.approx(found, rel=1e-6)
    assert np.array_equal(table, table.T)


def kept_at(times: np.ndarray) -> list[Profile]:
    return [Profile(gamma_of(length), float(time)) for time in times for length in LENGTHS]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("place", [0, 5, -1])
def test_what_is_kept_is_itself(length: float, place: int) -> None:
    """Exactly, where it is found; and by least squares, where a hair's breadth away."""
    times = np.linspace(100, 2000, 20)
    kept = kept_at(times)
    wanted = Profile(gamma_of(length), float(times[place]))
    weights, off = combination(kept, wanted)
    assert off == 0
    assert weights.tolist() == np.eye(len(kept))[kept.index(wanted)].tolist()
    near, off = combination(kept, Profile(wanted.gamma * (1 + 1e-9), wanted.time))
    assert off < 1e-6
    assert np.abs(near - weights).max() < 1e-4


@pytest.mark.parametrize("length", [0.01, 0.02, 0.05, 0.07, 0.14, 0.25, 0.28])
@pytest.mark.parametrize("number", [1, 2, 9, 33])
def test_weights_add_up_to_one(length: float, number: int) -> None:
    weights, off = combination(kept_at(np.arange(1, number + 1) * 64), Profile(gamma_of(length), number * 64.0))
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    assert 0 <= off < (1 if number > 1 else 2)


def walk_error(length: float, number: int, n: int = 4096) -> float:
    """Return how far a rebuilt average of random walks is from brute force, beside the distance of that from w(n)."""
    walks = np.random.default_rng(1).normal(size=(64, n)).cumsum(1)
    times = (np.arange(1, number + 1) * n // number).astype(int)
    kept = np.stack([walks[:, :t] @ shares(t, gamma_of(one)) for t in times for one in LENGTHS], 1)
    weights, _ = combination(kept_at(times), Profile(gamma_of(length), float(n)))
    exact = walks @ shares(n, gamma_of(length))
    lag = np.square(exact - walks[:, -1]).mean()
    return float(np.sqrt(np.square(kept @ weights - exact).mean() / lag))


@pytest.mark.parametrize(("length", "bound"), [(0.02, 0.08), (0.03, 0.02), (0.07, 0.001), (0.14, 0.001), (0.25, 0.03)])
def test_other_lengths_of_random_walks_are_near_and_come_nearer(length: float, bound: float) -> None:
    """What runs keep, from 16 moments to 32; errors fall with their number."""
    errors = [walk_error(length, number) for number in (4, 8, 16, 32)]
    assert errors[2] < bound
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.2 * errors[0]


def test_weights_that_are_told_by_fewer_moments_say_so() -> None:
    wanted = Profile(gamma_of(0.02), 1000.0)
    found = [combination(kept_at(np.linspace(1000 / n, 1000, n)), wanted)[1] for n in (1, 4, 16, 32)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.3 > 0.05 > found[-1]
