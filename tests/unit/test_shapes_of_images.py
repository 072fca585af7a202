"""Families of images at oblong sizes, with opacity and with 16 bits: trained, resumed, drawn, measured, exported."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.engine.machine.precision import choose_precision
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.evaluation.report.page import save_report
from saddlepoint.export import export_run
from saddlepoint.family import DataSpec, Family, Sized, build_family, families
from saddlepoint.figures import grids
from saddlepoint.figures.grids import picture_bytes, tile
from saddlepoint.figures.snapshots import read_snapshot, save_snapshot
from saddlepoint.metrics.extractors import Pixels
from saddlepoint.nn.augment import TRANSFORMS, colour
from saddlepoint.nn.sizes import SIZES, nearest_size, starts
from saddlepoint.run.api import train
from saddlepoint.run.run import load
from saddlepoint.run.samples import pictures
from saddlepoint.run.samples.translate import translate_folder
from tests.unit.data_helpers import own_cache, png  # noqa: F401

STYLES = {"width": 4, "max_width": 8, "batch_size": 4, "latent_size": 8, "w_size": 8}
FAST: dict[str, dict[str, Any]] = {
    "gan": {"generator_widths": "16,16", "discriminator_widths": "16", "batch_size": 4},
    "cgan": {"generator_widths": "16,16", "discriminator_widths": "16", "batch_size": 4},
    "dcgan": {"width": 4, "max_width": 8, "batch_size": 4},
    "stylegan": STYLES,
    "stylegan1": STYLES,
    "stargan": {"width": 4, "discriminator_width": 4, "batch_size": 4, "colours_steps": 1},
    "r3gan": {"widths": "8", "batch_size": 4, "latent_size": 8},
    "stargan2": {"width": 4, "discriminator_width": 4, "style_width": 8, "style_size": 8, "batch_size": 4},
}


@pytest.fixture(scope="module")
def stickers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of many colours, (80, 60), transparent around, in two classes."""
    root, rng = tmp_path_factory.mktemp("stickers"), np.random.default_rng(0)
    for name in ("left", "right"):
        (root / name).mkdir()
        for number in range(30):
            x = np.zeros((80, 60, 4), np.uint8)
            x[..., :3] = rng.integers(0, 256, 3)
            rows, columns = np.mgrid[:80, :60]
            centre = 20 if name == "left" else 40
            x[..., 3] = 255 * (np.hypot(rows - 40, columns - centre) < rng.integers(8, 18))
            (root / name / f"{number}.png").write_bytes(png(x))
    return root


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def weights(run: Any) -> dict[str, torch.Tensor]:
    return dict(run.family.state_dict())


@pytest.mark.parametrize("name", list(FAST))
@pytest.mark.parametrize(
    "preparation",
    [{"size": "24x32", "channels": 4, "background": "black"}, {"size": "16x32", "depth": 16}],
    ids=["opacity", "depth"],
)
def test_every_family_trains_resumes_and_draws(
    name: str, preparation: dict[str, Any], stickers: Path, tmp_path: Path
) -> None:
    request = {"options": FAST[name], "device": "cpu", "threads": 1, **preparation}
    whole = train(name, str(stickers), steps=3, out=tmp_path / "whole", **request)
    train(name, str(stickers), steps=2, out=tmp_path / "run", **request)
    run = train(name, str(stickers), steps=3, out=tmp_path / "run", **request)
    assert run.step == 3
    assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(run).items())
    channels, width = preparation.get("channels", 3), int(preparation["size"][:2])
    assert run.family.data.shape == (channels, 32, width)
    assert run.sample(2).shape == (2, channels, 32, width)
    grid = opened(pictures.draw(run, "grid", 6))
    translates = run.family.tags.input == "image"
    assert grid.mode == ("RGBA" if channels == 4 and not translates else "RGB")
    assert (grid.width - 2) % (width * 2 + 2) == 0
    columns = (grid.width - 2) // (width * 2 + 2)
    # A conditional generator's columns are headed too.
    words = {"headings": ["a"] * columns} if translates or run.family.classes else {}
    plain, headed = (tile(np.zeros((columns, 3, 32, width), np.uint8), columns, **more) for more in ({}, words))
    assert (grid.height - 2 - headed.height + plain.height) % (32 * 2 + 2) == 0
    snapshot = read_snapshot(sorted((tmp_path / "run" / "samples").glob("*.png"))[-1])
    assert snapshot.shape[1:] == (channels, 32, width)
    for picture in ("filmstrip", "neighbours"):
        assert opened(pictures.draw(run, picture, 4)).size > (4 * width, 32)
    kept = np.load(pictures.draw(run, "grid", 4, out=tmp_path / "x.npz"))["x"]
    assert kept.dtype == (np.float32 if "depth" in preparation else np.uint8)
    assert kept.shape[1:] == (channels, 32, width)


@pytest.mark.parametrize("name", ["dcgan", "stargan"])
def test_oblong_images_with_opacity_are_measured_and_exported(name: str, stickers: Path, tmp_path: Path) -> None:
    run = train(
        name, str(stickers), options=FAST[name], steps=2, out=tmp_path / "run", device="cpu", threads=1, size="24x32",
        channels=4,
    )  # fmt: skip
    report = run.evaluate(["fd", "memorisation"])
    assert report.results
    assert save_report(tmp_path / "report", report).stat().st_size > 10_000
    folder = export_run(run, "onnx", tmp_path / "onnx", measure=False)
    words = ["-n", "4"]
    if name == "stargan":
        np.save(tmp_path / "in.npy", np.asarray(run.dataset().splits["train"].x[:4]))
        words = ["--images", str(tmp_path / "in.npy"), "--label", "left"]
    out = tmp_path / "samples.png"
    subprocess.run([sys.executable, str(folder / "sample.py"), "--out", str(out), *words], check=True)
    with Image.open(out) as sheet:
        assert (sheet.mode, sheet.size) == ("RGBA", (2 * 50 + 2, 2 * 66 + 2))  # twice as large, gaps of 2


def test_translations_keep_size_and_make_opacity_of_their_own(stickers: Path, tmp_path: Path) -> None:
    run = train(
        "stargan", str(stickers), options=FAST["stargan"], steps=1, out=tmp_path / "run", device="cpu", threads=1,
        size="24x32", channels=4,
    )  # fmt: skip
    run = load(run.path)
    translated = translate_folder(run, stickers / "left", ["right"], tmp_path / "out")
    assert len(translated.written) == 30
    with Image.open(translated.written[0]) as image:
        assert (image.mode, image.size) == ("RGBA", (60, 80))


def can_make(kind: type[Family], width: int, height: int) -> bool:
    """Families that say nothing of sizes take any."""
    return not issubclass(kind, Sized) or kind.can_make(width, height)


@pytest.mark.parametrize("name", [name for name, kind in families().items() if "image" in kind.tags.modalities])
def test_what_a_family_says_it_can_make_it_makes(name: str) -> None:
    kind = families()[name]
    config = next(iter(kind.PRESETS.values()))
    shares = (0.5, 0.5)
    for width, height in [(16, 64), (24, 32), (28, 28), (28, 56), (30, 30), (32, 34), (48, 64), (64, 48), (20, 50)]:
        spec = DataSpec("image", (4, height, width), ("a", "b"), 100, shares)
        if can_make(kind, width, height):
            with torch.device("meta"):
                build_family(name, config, spec)
        else:
            with pytest.raises(ConfigError, match=f"{width}x{height}.*--size"), torch.device("meta"):
                build_family(name, config, spec)


def test_the_page_on_images_names_sizes_that_all_families_make() -> None:
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "suit all families" in line]
    sizes = [tuple(map(int, found)) for found in re.findall(r"`(\d+)x(\d+)`", line)]
    assert len(sizes) == 4
    for width, height in sizes:
        for kind in families().values():
            fits = can_make(kind, width, height) and can_make(kind, height, width)
            assert fits or "image" not in kind.tags.modalities


@pytest.mark.parametrize(("name", "width", "height"), [("dcgan", 50, 66), ("stylegan", 100, 150), ("dcgan", 31, 31)])
def test_the_size_that_a_refusal_proposes_works(name: str, width: int, height: int) -> None:
    with pytest.raises(ConfigError) as caught:
        build_family(name, next(iter(families()[name].PRESETS.values())), DataSpec("image", (3, height, width)))
    asked = str(caught.value).split("--size ")[1].split()[0]
    wide, high = (int(side) for side in (asked.split("x") * 2)[:2]) if "x" not in asked else map(int, asked.split("x"))
    assert can_make(families()[name], wide, high)
    assert wide / high == pytest.approx(width / height, rel=0.1)


def test_starts_double_to_the_size() -> None:
    for side in SIZES:
        levels = starts(side, side)
        assert levels is not None
        assert levels[-1] == (side, side)
        assert all(b == (2 * a[0], 2 * a[1]) for a, b in pairwise(levels))
    assert starts(96, 64) == [(6, 4), (12, 8), (24, 16), (48, 32), (96, 64)]
    assert starts(66, 64) is starts(320, 64) is None
    assert nearest_size(64, 64, lambda w, h: (w, h) == (32, 32)) == (32, 32)
    assert nearest_size(500, 500, lambda w, h: (w, h) == (32, 32)) is None


@pytest.mark.parametrize("kind", list(TRANSFORMS))
def test_augmentation_takes_four_channels(kind: str) -> None:
    x = torch.rand(6, 4, 12, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = TRANSFORMS[kind](x, stream("cpu", kind))
    assert found.shape == x.shape
    if kind == "colour":
        assert torch.equal(found[:, 3:], x[:, 3:])
        assert torch.equal(found[:, :3], colour(x[:, :3], stream("cpu", kind)))


def test_pictures_with_opacity_keep_it_or_lie_on_chequers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 4, 8, 12), dtype=np.uint8)
    x[0, 3], x[1, 3] = 0, 255
    kept = np.asarray(tile(x, 3, scale=1, gap=2, see_through=True))
    assert np.array_equal(kept[2:10, 2:14], x[0].transpose(1, 2, 0))
    assert (kept[:2, :, 3] == 255).all()
    laid = np.asarray(tile(x, 3, scale=1, gap=2))
    assert laid.shape[2] == 3
    assert set(np.unique(laid[2:10, 2:14])) == {153, 204}
    assert np.array_equal(laid[2:10, 16:28], x[1, :3].transpose(1, 2, 0))
    samples = torch.from_numpy(x).float() / 127.5 - 1
    path = save_snapshot(tmp_path, 5, samples)
    assert np.array_equal(read_snapshot(path), x)
    assert grids.single(samples[2]).mode == "RGBA"
    assert grids.single(samples[2], see_through=False).mode == "RGB"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_samples_of_16_bits_are_read_back_with_all_their_levels(tmp_path: Path, channels: int) -> None:
    from saddlepoint.data import load_dataset

    values = np.random.default_rng(0).integers(0, 65536, (6, channels, 8, 12)).astype(np.uint16)
    values[:, :, 0, 0], values[:, :, 0, 1] = 0, 65535
    values[:, 3:] = 65535
    for number, row in enumerate(values):
        sample = torch.from_numpy(row.astype(np.float32)) / 32767.5 - 1
        (tmp_path / f"{number}.png").write_bytes(picture_bytes(sample, 16))
    dataset = load_dataset(str(tmp_path), depth=16, size="12x8", channels=channels)
    found = {row.tobytes() for split in dataset.splits.values() for row in np.asarray(split.x)}
    assert found == {row.tobytes() for row in values}
    assert opened(tmp_path / "0.png").mode == {1: "I;16", 3: "RGB", 4: "RGBA"}[channels]
    with pytest.raises(DataError, match="not finite"):
        picture_bytes(torch.full((channels, 4, 4), torch.nan), 16)


def test_features_do_not_see_what_nobody_sees() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8), dtype=np.uint8)
    x[:, 3, :4] = 0
    other = x.copy()
    other[:, :3, :4] = 255 - other[:, :3, :4]
    extractor = Pixels((4, 8, 8))
    assert np.array_equal(extractor.extract(x).x, extractor.extract(other).x)
    inside = torch.from_numpy(x).float() / 127.5 - 1
    assert np.abs(extractor.embed(inside).numpy() - extractor.extract(x).x).max() <= 1 / 255


def test_16_bits_are_not_computed_in_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.engine.machine.precision.measured_speedup", lambda device: 9.0)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu).name == "bf16"
    assert choose_precision("auto", cpu, depth=16).name == "fp32"
    assert choose_precision("bf16", cpu, depth=16).name == "bf16"


def test_samples_of_a_run_on_16_bits_are_files_of_16_bits(stickers: Path, tmp_path: Path) -> None:
    run = train(
        "dcgan", str(stickers), options=FAST["dcgan"], steps=1, out=tmp_path / "run", device="cpu", threads=1,
        size="16x32", depth=16, channels=1,
    )  # fmt: skip
    assert run.config["precision"]["name"] == "fp32"
    folder = run.write(tmp_path / "out", 3)
    values = np.stack([np.asarray(opened(path)) for path in sorted(folder.glob("*.png"))])
    assert values.dtype == np.uint16
    assert np.array_equal(values, np.rint((run.sample(3).double().numpy()[:, 0] + 1) * 32767.5).astype(np.uint16))
    with pytest.raises(ConfigError, match="choose png"):
        run.write(tmp_path / "webp", 3, kind="webp")
