"""Samples as one file each: what is written is what the generator makes, and it is read back with its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError
from saddlepoint.data import load_dataset, load_samples
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.images.write import write_images
from saddlepoint.figures import grids
from saddlepoint.run.samples import pictures
from tests.unit.data_helpers import own_cache, write_folder  # noqa: F401
from tests.unit.data_helpers import pictures as drawn

SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> saddlepoint.Run:
    folder = tmp_path_factory.mktemp("conditional") / "run"
    return saddlepoint.train("cgan", data="digits", steps=2, options=SMALL, threads=1, out=folder)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_files_are_the_samples_and_come_back_with_their_labels(run: saddlepoint.Run, tmp_path: Path, kind: str) -> None:
    folder = pictures.draw(run, "grid", 30, seed=4, out=tmp_path / "made", kind=kind)
    expected = grids.to_uint8(run.sample(30, seed=4))
    files = sorted(folder.glob(f"*.{kind}"))
    assert [file.name for file in files][:2] == [f"000000.{kind}", f"000001.{kind}"]
    for file, x in zip(files, expected, strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image.convert("L")), x[0])
    x, labels = load_samples(folder, run.dataset())
    assert np.array_equal(x, expected)
    assert np.array_equal(labels, run.labels(30, seed=4))  # type: ignore[arg-type]


def test_datasets_reads_them_back(run: saddlepoint.Run, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    run.write(tmp_path / "made", 12, seed=1)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "made"), cache_dir=str(tmp_path / "c"))[
        "train"
    ]
    assert [int(row["label"]) for row in theirs] == run.labels(12, seed=1).tolist()  # type: ignore[union-attr]
    assert np.array_equal(np.stack([row["image"] for row in theirs]), grids.to_uint8(run.sample(12, seed=1))[:, 0])


def test_one_class_alone_and_the_command(run: saddlepoint.Run, tmp_path: Path) -> None:
    words = ["sample", str(run.path), "-n", "7", "--label", "3", "--out", str(tmp_path / "threes") + "/"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    x, labels = load_samples(tmp_path / "threes", run.dataset())
    assert labels is not None
    assert labels.tolist() == [3] * 7
    assert np.array_equal(x, grids.to_uint8(run.sample(7, label=3)))
    again = CliRunner().invoke(app, words)
    assert again.exit_code
    assert "not an empty folder" in str(again.exception)
    within = CliRunner().invoke(app, ["sample", str(run.path), "-n", "5", "--format", "webp"])
    assert within.exit_code == 0
    assert len(list((run.path / "pictures" / "samples-seed0").glob("*.webp"))) == 5


@pytest.mark.parametrize(
    ("out", "kind", "picture", "words"),
    [
        ("x.png", "webp", "grid", "name a folder"),
        ("x.csv", None, "grid", "no columns"),
        ("x.gif", None, "grid", "or name a folder"),
        ("x", None, "filmstrip", "leave --picture out"),
        ("x", "bmp", "grid", "format is 'bmp'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: saddlepoint.Run, tmp_path: Path, out: str, kind: str | None, picture: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        pictures.draw(run, picture, 4, out=tmp_path / out, kind=kind)
    assert not list(tmp_path.iterdir())


def test_classes_of_any_name_and_several_labels_come_back(tmp_path: Path) -> None:
    """Names that would be no good as folders: numbers with zeros in front, slashes, words of splits."""
    x = drawn(12, channels=3).transpose(0, 3, 1, 2)
    names = ("01", "02", "a/b", "train")
    labels = np.arange(12) % 4
    data = load_dataset(str(write_images(tmp_path / "one", x, labels=labels, classes=names)))
    assert data.classes == ("01", "02", "a/b", "train")
    held = np.concatenate([part.labels for part in data.splits.values() if part.labels is not None])
    pixels = np.concatenate([part.x for part in data.splits.values()])
    rows = [int(np.flatnonzero((x == p).all((1, 2, 3)))[0]) for p in pixels]
    assert held.tolist() == labels[rows].tolist()
    table = np.stack([np.arange(12) % 2, np.arange(12) % 3 == 0, np.ones(12)], 1).astype(np.int64)
    data = load_dataset(str(write_images(tmp_path / "more", x, labels=table, classes=("sea", "sky", "wet"))))
    held = np.concatenate([part.labels for part in data.splits.values() if part.labels is not None])
    assert held.tolist() == table[rows].tolist()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_oblong_and_transparent_images_are_kept_as_they_are(tmp_path: Path, channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, channels, 6, 9), dtype=np.uint8)
    x[:, 3:] |= 1  # fully transparent pixels have no colour in WebP
    for kind in ("png", "webp"):
        write_images(tmp_path / kind, x, kind)
        for row, file in enumerate(sorted((tmp_path / kind).iterdir())):
            with Image.open(file) as image:
                pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
            assert np.array_equal(pixels.reshape(6, 9, channels).transpose(2, 0, 1), x[row])


def test_truncation_pulls_samples_to_the_mean(tmp_path: Path, run: saddlepoint.Run) -> None:
    small = {"width": 4, "max_width": 8, "w_size": 8, "latent_size": 6, "batch_size": 4}
    data = write_folder(tmp_path / "d", list(drawn(12)))
    styled = saddlepoint.train("stylegan", str(data), steps=1, options=small, out=tmp_path / "run")
    none, whole = (styled.sample(6, truncation=psi) for psi in (0.0, 1.0))
    assert torch.allclose(none, none[:1].expand_as(none), atol=1e-5)
    w = styled.codes(styled.inputs(6))
    assert torch.allclose(whole, styled.synthesise(w[:, None].expand(-1, styled.family.w_layers, -1)), atol=1e-5)
    assert not torch.allclose(whole, whole[:1].expand_as(whole), atol=1e-5)
    folder = pictures.draw(styled, "grid", 6, out=tmp_path / "made", truncation=0.5)
    assert np.array_equal(load_samples(folder, styled.dataset())[0], grids.to_uint8(styled.sample(6, truncation=0.5)))
    with pytest.raises(ConfigError, match="no w to truncate"):
        run.sample(3, truncation=0.5)
    with pytest.raises(ConfigError, match="leave one of them out"):
        pictures.draw(styled, "truncation", 3, truncation=0.5)


def test_windows_of_a_data_set_without_a_table_are_read_with_its_features(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 9, 3)).astype(np.float32)
    data = Dataset("made", "sequence", {split: Split(x) for split in ("train", "valid", "test")}, (), "ab" * 32)
    np.save(tmp_path / "s.npy", x)
    found, labels = load_samples(tmp_path / "s.npy", data)
    assert labels is None
    assert np.allclose(found, x)
