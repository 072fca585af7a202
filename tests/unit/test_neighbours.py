"""Nearest rows and pairs within balls against all distances by subtraction; optimizer steps against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saddlepoint.metrics import neighbours
from saddlepoint.metrics.manifold import Known, manifold
from saddlepoint.metrics.neighbours import Table, nearest_within, pairs_within
from saddlepoint.nn.adam import Adam
from saddlepoint.nn.storage import with_storage


def _rows(case: str, n: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    if case == "offset":
        x += 1e4  # float32 alone would know these distances to two digits only
    if case == "rounded":
        x += 1e2  # float32 mistakes neighbours that are about as far away for one another
    if case == "outlier":
        x[0] += 1e6
    if case == "copies":
        x[1::2] = x[::2][: len(x[1::2])]
    return torch.from_numpy(x)


def _all(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a[:, None] - b).square().sum(2)


CASES = ("plain", "offset", "outlier", "copies")


@pytest.mark.parametrize("case", [*CASES, "rounded"])
@pytest.mark.parametrize("size", [1, 2**20])
@pytest.mark.parametrize(("k", "spare"), [(5, None), (5, 0), (1, 0), (2, 0)])
def test_nearest_rows(case: str, size: int, k: int, spare: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no candidate to spare: all is known from the bounds of those that are no candidates."""
    monkeypatch.setattr(neighbours, "_TABLE", size)
    if spare is not None:
        monkeypatch.setattr(neighbours, "_SPARE", spare)
    x = _rows(case, 600 if case == "rounded" else 80, 0)
    squares, indices = nearest_within(Table.of(x, torch.zeros(5, dtype=torch.float64)), k)
    table = _all(x, x).fill_diagonal_(torch.inf)
    assert torch.equal(squares, table.sort(1).values[:, :k])
    assert torch.equal(table.gather(1, indices), squares)


@pytest.mark.parametrize("case", CASES)
def test_pairs_within_balls(case: str) -> None:
    x, y = _rows(case, 90, 1), _rows(case, 70, 2)
    y[:4] = x[10:14]
    shift = x.mean(0) if case == "plain" else torch.zeros(5, dtype=torch.float64)
    a, b = Table.of(x, shift), Table.of(y, shift)
    radii, others = (nearest_within(table, 5)[0] for table in (a, b))
    radii, others = radii[:, [2, 4]], others[:, 2:3]
    # Rows on the spheres themselves: rounding must not decide.
    y[5] = x[20] + torch.tensor([float(radii[20, 0].sqrt()), 0, 0, 0, 0])
    b, table = Table.of(y, shift), _all(x, y)
    for pairs, spheres, axis in zip(pairs_within(a, b, radii, others), (radii, others), (0, 1), strict=True):
        for k in range(spheres.shape[1]):
            inside = pairs.squares <= spheres[(pairs.first, pairs.second)[axis], k]
            found = torch.zeros_like(table, dtype=torch.bool)
            found[pairs.first[inside], pairs.second[inside]] = True
            expected = table <= (spheres[:, k, None] if axis == 0 else spheres[:, k])
            assert torch.equal(found, expected)


def test_what_is_known_of_the_real_rows_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    real, fakes = rng.normal(size=(600, 4)), [rng.normal(size=(600, 4)) * s for s in (1.0, 1.3)]
    known: Known = {}
    found = [manifold(real, fake, known=known) for fake in fakes]
    there = {key: tuple(table.clone() for table in both) for key, both in known.items()}
    again = [manifold(real, fake, known=known) for fake in fakes]
    assert found == again == [manifold(real, fake) for fake in fakes]
    assert all(torch.equal(a, b) for key, both in known.items() for a, b in zip(both, there[key], strict=True))
    assert "all/5" in known


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_no_unit_is_too_large_or_too_small(unit: float) -> None:
    rng = np.random.default_rng(4)
    real, fake = rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) * 1.2
    values = [{n: e.value for n, e in manifold(x, y).items()} for x, y in ((real, fake), (real * unit, fake * unit))]
    assert values[0] == values[1]


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_steps_are_those_of_pytorch_bit_for_bit(decay: float) -> None:
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=draws), torch.randn(3, generator=draws)]
    own, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    ours = Adam(own, decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    reference = kind(theirs, 0.01, weight_decay=decay, fused=True)
    for step in range(5):
        rate = 0.01 / (1 + step)
        reference.param_groups[0]["lr"] = rate
        for a, b in zip(own, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=draws)
            b.grad = a.grad.clone()
        ours.step(rate)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
    ours.zero_grad()
    assert all(p.grad is None for p in own)


def test_modules_get_storage_for_all_that_has_none() -> None:
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
    kept = torch.nn.Linear(2, 2)
    module.append(kept)
    before = kept.weight.clone()
    found = with_storage(module)
    assert found is module
    assert not any(t.is_meta for t in found.state_dict().values())
    assert {name: t.shape for name, t in found.state_dict().items()}["1.running_var"] == (4,)
    assert found[1].num_batches_tracked.dtype == torch.int64
    assert torch.equal(kept.weight, before)
    assert "1.running_mean" in dict(found.named_buffers())
