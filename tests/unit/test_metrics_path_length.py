"""Path length: linear and quadratic generators have it in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.path_length import path_length, slerp


def normal(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 6, generator=generator, dtype=torch.float64)


def unit(n: int, generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(normal(n, generator), dim=1)


def same(x: Tensor) -> Tensor:
    return x


def _length(generate=same, latents=normal, features=same, seed: int = 0, **options):
    return path_length(generate, latents, features, np.random.default_rng(seed), **options)


def test_straight_paths_of_a_linear_generator() -> None:
    # |A (b - a)|^2 has the mean 2 |A|^2 for independent normal ends.
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = _length(lambda z: z @ matrix, interpolation="lerp", trim=0.0, n=4000)
    truth = 2 * float(matrix.square().sum())
    assert found.interval[0] < truth < found.interval[1]
    assert found.standard_error < 0.03 * truth
    assert found.interval[1] - found.interval[0] == pytest.approx(3.92 * found.standard_error, rel=0.1)
    # The features count, not the samples.
    doubled = _length(lambda z: z @ matrix, features=lambda x: 2 * x, interpolation="lerp", trim=0.0, n=4000)
    assert doubled.value == pytest.approx(4 * found.value, rel=1e-7)


def test_great_circles_of_unit_vectors_have_the_length_of_their_angle() -> None:
    found = _length(latents=unit, trim=0.0, n=4000)
    # cos^2 of the angle has a known mean, the angle itself by quadrature: density sin^(d - 2).
    angles = np.linspace(0, math.pi, 20_001)
    density = np.sin(angles) ** 4
    truth = float((angles**2 * density).sum() / density.sum())
    assert found.interval[0] < truth < found.interval[1]
    # Speed does not change along a great circle.
    ends = _length(latents=unit, trim=0.0, n=4000, where="end")
    assert ends.value == pytest.approx(found.value, rel=1e-6)


def test_where_counts_when_speed_changes_along_the_path() -> None:
    # G(z) = z^2 from a to b: at t = 0 the speed is 2 a (b - a).
    square = lambda z: z[:, :1] ** 2  # noqa: E731
    end = _length(square, interpolation="lerp", where="end", trim=0.0, n=30_000)
    full = _length(square, interpolation="lerp", where="full", trim=0.0, n=30_000)
    # 4 E x^2 y^2 with x = a + t (b - a), y = b - a normal: var x = 1 - 2 t + 2 t^2, var y = 2, cov = 2 t - 1, so
    # 4 (2 var x + 2 cov^2): 16 at t = 0, and 4 (4/3 + 2/3) = 8 on average over t.
    assert end.interval[0] < 16 < end.interval[1]
    assert full.interval[0] < 8 < full.interval[1]


def test_trimming_leaves_out_both_tails() -> None:
    def heavy(z: Tensor) -> Tensor:
        return torch.exp(2 * z[:, :1])

    plain, cut = (_length(heavy, interpolation="lerp", where="end", trim=trim, n=2000) for trim in (0.0, 0.01))
    assert cut.value < plain.value / 2
    # The same steps, by hand.
    generator = torch.Generator().manual_seed(int(np.random.default_rng(0).integers(2**62)))
    a, b = normal(2000, generator), normal(2000, generator)
    near = a + 1e-4 * (b - a)
    steps = ((heavy(near) - heavy(a)).square().sum(1) / 1e-8).numpy()
    assert plain.value == pytest.approx(steps.mean(), rel=1e-6)
    assert cut.value == pytest.approx(stats.trim_mean(steps, 0.01), rel=1e-6)
    assert cut.standard_error < plain.standard_error / 3


def test_batch_does_not_matter_and_the_seed_does() -> None:
    base = _length(torch.sin, n=300)
    for batch in (1, 7, 300, 1000):
        other = _length(torch.sin, n=300, batch=batch)
        assert other.value == pytest.approx(base.value, rel=1e-9)
        assert other.interval == pytest.approx(base.interval, rel=1e-9)
    assert _length(torch.sin, n=300, seed=1).value != base.value
    assert base.details == {"n": 300, "epsilon": 1e-4, "trim": 0.01, "interpolation": "slerp", "where": "full"}


def test_epsilon_hardly_matters_for_a_smooth_generator() -> None:
    values = [_length(torch.sin, n=500, epsilon=epsilon).value for epsilon in (1e-3, 1e-4, 1e-6)]
    assert values == pytest.approx([values[0]] * 3, rel=2e-3)


def test_float32_keeps_three_digits() -> None:
    found = _length(lambda z: torch.sin(z.float()), n=500)
    assert found.value == pytest.approx(_length(torch.sin, n=500).value, rel=2e-3)
    images = _length(lambda z: z.float().reshape(-1, 1, 2, 3), n=200)
    assert images.value == pytest.approx(_length(n=200).value, rel=2e-3)


def test_an_interval_covers_the_trimmed_mean_of_all_paths() -> None:
    generate = lambda z: torch.exp(0.4 * z)  # noqa: E731
    truth = _length(generate, n=20_000, batch=20_000, seed=10).value  # its error: a tenth of theirs
    hits = 0
    for seed in range(40):
        low, high = _length(generate, n=200, batch=200, seed=seed).interval
        hits += low <= truth <= high
    assert hits >= 34


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), t=st.floats(0, 1), scale=st.floats(1e-3, 1e3))
def test_slerp_keeps_length_and_turns_evenly(seed: int, t: float, scale: float) -> None:
    a, b = (scale * unit(3, torch.Generator().manual_seed(seed + k)) for k in (0, 1))
    place = torch.full((3, 1), t, dtype=torch.float64)
    middle = slerp(a, b, place)
    torch.testing.assert_close(middle.norm(dim=1), torch.full((3,), scale, dtype=torch.float64))
    whole, part = (torch.arccos(((a * x).sum(1) / scale**2).clamp(-1, 1)) for x in (b, middle))
    torch.testing.assert_close(part, t * whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(slerp(b, a, 1 - place), middle)


def test_slerp_of_parallel_ends_is_straight() -> None:
    a = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    b = torch.tensor([[2.0, 4.0], [1.0, 0.0], [-1.0, -1.0]])
    t = torch.full((3, 1), 0.25)
    torch.testing.assert_close(slerp(a, b, t), torch.lerp(a, b, t))


def test_few_paths_have_no_interval() -> None:
    found = _length(n=99)
    assert math.isfinite(found.value)
    assert found.interval is None
    assert "99 paths are too few" in str(found.details["limitation"])


def test_refuses_what_it_cannot_measure() -> None:
    for options, message in (
        ({"n": 0}, "n is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"interpolation": "slurp"}, "did you mean 'slerp'"),
        ({"where": "middle"}, "choose from: end, full"),
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"trim": 0.5}, "trim is 0.5"),
    ):
        with pytest.raises(ConfigError, match=message):
            _length(**options)
    with pytest.raises(DataError, match=r"\(10, latent\)"):
        _length(latents=lambda n, generator: torch.zeros(n), n=10)
    with pytest.raises(DataError, match="not finite"):
        _length(lambda z: z / 0, n=10)
