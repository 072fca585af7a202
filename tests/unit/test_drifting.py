"""Drifting: the field is antisymmetric and 0 at its goal, formulas term by term, classes, a swarm that finds data."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.drifting import Drifting, DriftingConfig
from saddlepoint.families.drifting.model import distances, drift
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family

SMALL = DriftingConfig(batch_size=4, widths=(8, 12), condition_width=16)
SPEC = DataSpec("image", (1, 28, 28), ("a", "b", "c"), 20)
TEMPERATURES = (0.1, 0.4)


def points(name: str, n: int, features: int = 3) -> Tensor:
    return torch.randn(n, features, generator=stream("cpu", name), dtype=torch.float64)


def build(config: DriftingConfig = SMALL, spec: DataSpec = SPEC) -> Drifting:
    family = build_family("drifting", config, spec)
    assert isinstance(family, Drifting)
    family.reset_parameters(stream("cpu", "weights", 0))
    return family


def test_distances_are_euclidean() -> None:
    x, y = points("x", 5), points("y", 4)
    torch.testing.assert_close(distances(x, y), torch.cdist(x, y))
    assert float(distances(x, x).diagonal().max()) < 1e-5


def test_field_is_antisymmetric_and_zero_where_both_sets_are_one() -> None:
    x, data, made = points("x", 6), points("data", 9), points("made", 9)
    one, _ = drift(x, data, made, TEMPERATURES)
    other, _ = drift(x, made, data, TEMPERATURES)
    torch.testing.assert_close(one, -other)
    assert float(one.square().mean()) > 0.1
    _, sizes = drift(x, data, data, TEMPERATURES)
    assert max(float(size) for size in sizes) < 1e-12


def test_field_falls_as_both_sets_come_to_one_distribution() -> None:
    """Of one distribution it is noise: beside that of two, more points make it smaller."""

    def size(n: int, shift: float) -> float:
        x = points("x", 20, 2)
        return float(drift(x, points("data", n, 2) + shift, points("made", n, 2), (0.5,))[1][0])

    ratios = [size(n, 0.0) / size(n, 1.0) for n in (100, 4000)]
    assert ratios[1] < 0.4 * ratios[0]
    assert ratios[1] < 0.1


def test_field_is_what_the_paper_says_term_by_term() -> None:
    x, data, made, tau = points("x", 3), points("data", 4), points("made", 5), 0.3
    among = torch.cdist(x, torch.cat([data, made]))
    kernel = (-among / tau).exp()
    kernel = kernel / (kernel.sum(1, keepdim=True) * kernel.sum(0, keepdim=True)).sqrt()
    expected = torch.zeros_like(x)
    for i in range(3):
        for j in range(4):
            for k in range(5):
                expected[i] += kernel[i, j] * kernel[i, 4 + k] * (data[j] - made[k])
    field, sizes = drift(x, data, made, (tau,))
    torch.testing.assert_close(sizes[0], expected.square().mean().sqrt())
    torch.testing.assert_close(field, expected / sizes[0])


def test_classes_act_among_themselves_only() -> None:
    """The field of a class is that of its own points alone, but for its unit."""
    family = build(replace(SMALL, conditional=True, temperatures=(0.3,)))
    x, data, labels = points("x", 8).float(), points("data", 8).float(), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
    x.requires_grad_()
    loss, _ = family.drifted(x, data, labels)
    (along,) = torch.autograd.grad(loss.sum(), x)
    moved = data.clone()
    moved[3:7] *= 1.3
    moved[3:7] -= (moved[3:7] - data[3:7]) * 0.5
    unit = distances(x.detach(), torch.cat([data, x.detach()])).mean()
    of_class = slice(0, 3)
    own = x.detach()[of_class] / unit
    others = ~torch.eye(3, dtype=torch.bool)
    field, _ = drift(own, data[of_class] / unit, own, (0.3,), torch.cat([torch.ones_like(others), others], 1))
    ratio = (-along[of_class] / field).flatten()
    torch.testing.assert_close(ratio, ratio[:1].expand(len(ratio)), rtol=1e-3, atol=1e-6)
    assert bool(along.isfinite().all())
    assert not bool(along[7].any())  # alone in its class: nothing repels it, so nothing moves it


def test_loss_pulls_along_the_field_alone() -> None:
    """Its gradient in a sample is -2 V / n: nothing passes through the field."""
    family = build()
    x, data = points("x", 6).requires_grad_(), points("data", 6)
    loss, _ = family.drifted(x, data, None)
    (along,) = torch.autograd.grad(loss.sum(), x)
    fixed = x.detach()
    unit = distances(fixed, torch.cat([data, fixed])).mean()
    others = ~torch.eye(6, dtype=torch.bool)
    field, _ = drift(
        fixed / unit, data / unit, fixed / unit, SMALL.temperatures, torch.cat([torch.ones_like(others), others], 1)
    )
    torch.testing.assert_close(along, -2 * field / 3 * math.sqrt(3) / unit)


def test_a_swarm_finds_two_modes() -> None:
    """Points that follow the field end in both halves of the data, near their deviation."""
    data = points("data", 200, 1) * 0.2 + torch.tensor([[-2.0], [2.0]]).repeat(100, 1)
    x = 0.1 * points("x", 100, 1)
    others = ~torch.eye(100, dtype=torch.bool)
    acting = torch.cat([torch.ones(100, 200, dtype=torch.bool), others], 1)
    for step in range(150):
        unit = distances(x, torch.cat([data, x])).mean()
        x = x + 0.05 * 0.985**step * drift(x / unit, data / unit, x / unit, (0.05, 0.2), acting)[0]
    assert 35 <= int((x > 0).sum()) <= 65
    assert float(((x.abs() - 2).square().mean()).sqrt()) == pytest.approx(0.2, abs=0.12)


def test_pooling_compares_means_of_squares() -> None:
    family = build(replace(SMALL, pooling=(1, 4)))
    batch = Batch(torch.rand(4, 1, 28, 28, generator=stream("cpu", "x")))
    phase = Phase("generator", trains=("generator",), optimizer="generator")
    terms = family.loss(phase, batch, Context(stream("cpu", "n"), stream("cpu", "b"), Progress()))
    assert terms.loss.shape == (4,)
    assert float(terms.logs["drift"]) > 0
    with pytest.raises(ConfigError, match="multiples of 20"):
        build(replace(SMALL, pooling=(1, 5)))
    with pytest.raises(ConfigError, match="needs labels"):
        build(replace(SMALL, conditional=True), DataSpec("image", (1, 28, 28)))
    with pytest.raises(ConfigError, match="samples repel each other"):
        replace(SMALL, batch_size=1)
