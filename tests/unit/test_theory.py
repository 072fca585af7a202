"""The 2014 theory against closed forms and published quadrature values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saddlepoint.objectives import theory

X = np.linspace(-15, 25, 40_001)
DX = float(X[1] - X[0])


def normal(mean: float, std: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * ((X - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


@pytest.mark.parametrize(
    ("d", "jsd", "criterion"),
    [(0, 0, -1.3863), (0.5, 0.0303, -1.3257), (1, 0.1114, -1.1635), (2, 0.3368, -0.7126), (4, 0.6327, -0.1209)],
)
def test_two_gaussians_at_a_distance(d: float, jsd: float, criterion: float) -> None:
    assert theory.jsd(normal(0), normal(d), DX) == pytest.approx(jsd, abs=5e-5)
    assert theory.criterion(normal(0), normal(d), DX) == pytest.approx(criterion, abs=1e-4)


def test_kl_of_gaussians_is_the_closed_form() -> None:
    for mean, std in ((1.0, 1.0), (2.0, 1.5), (0.0, 2.0)):
        expected = math.log(std) + (1 + mean**2) / (2 * std**2) - 0.5
        assert theory.kl(normal(0), normal(mean, std), DX) == pytest.approx(expected, abs=1e-6)


def test_kl_is_infinite_where_q_vanishes_and_jsd_is_log_2_for_disjoint_supports() -> None:
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert theory.kl(p, q, 1.0) == math.inf
    assert theory.jsd(p, q, 1.0) == pytest.approx(math.log(2))


def test_value_of_the_optimal_discriminator_is_the_criterion() -> None:
    p, q = normal(0), normal(1.5)
    best = theory.optimal_discriminator(p, q)
    v = float(np.sum(p * np.log(best) + q * np.log(1 - best)) * DX)
    assert v == pytest.approx(theory.criterion(p, q, DX), abs=1e-9)
    assert theory.optimal_discriminator(np.zeros(1), np.zeros(1)) == 0.5


def test_an_undecided_discriminator_has_value_minus_log_4() -> None:
    assert theory.value(torch.zeros(7), torch.zeros(9)).item() == pytest.approx(-math.log(4))
    assert theory.jsd_lower_bound(-math.log(4)) == 0


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20), st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20))
def test_value_is_finite_and_at_most_zero(real: list[float], fake: list[float]) -> None:
    v = theory.value(torch.tensor(real), torch.tensor(fake)).item()
    assert math.isfinite(v)
    assert v <= 0


def test_any_discriminator_bounds_the_divergence_from_below() -> None:
    """On samples of two Gaussians, (V + log 4) / 2 stays below the JSD and reaches it at D*."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(0, 1, 200_000)), torch.from_numpy(rng.normal(2, 1, 200_000))
    truth = 0.3368
    for slope, offset in ((-2.0, 2.0), (-1.0, 1.0), (-4.0, 4.0), (1.0, 0.0), (-2.0, 0.0)):
        bound = float(theory.jsd_lower_bound(theory.value(slope * x + offset, slope * y + offset)))
        assert bound < truth + 0.003
        if (slope, offset) == (-2.0, 2.0):  # log p/q of these two Gaussians
            assert bound == pytest.approx(truth, abs=0.003)
