"""Runs of a conditional generator: labels by name, pictures with a class in each column, what evaluation is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.labels.files import class_index
from saddlepoint.figures import grids, snapshots
from saddlepoint.run.samples import pictures

SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> saddlepoint.Run:
    folder = tmp_path_factory.mktemp("conditional") / "run"
    return saddlepoint.train("cgan", data="digits", steps=12, options=SMALL, threads=1, out=folder)


def test_labels_follow_the_data_and_depend_on_seed_and_position_only(run: saddlepoint.Run) -> None:
    labels = run.labels(2000, seed=1)
    assert labels is not None
    shares = torch.bincount(labels, minlength=10) / 2000
    torch.testing.assert_close(shares, torch.tensor(run.family.data.shares), atol=0.04, rtol=0)
    assert torch.equal(labels[:300], run.labels(300, seed=1))  # type: ignore[arg-type]
    assert not torch.equal(labels[:300], run.labels(300, seed=2))  # type: ignore[arg-type]


def test_a_class_is_asked_for_by_name_or_index(run: saddlepoint.Run) -> None:
    by_name, by_index = run.sample(6, label="3", seed=4), run.sample(6, label=3, seed=4)
    assert torch.equal(by_name, by_index)
    same = run.generate(run.inputs(6, seed=4), torch.full((6,), 3), seed=4)
    assert torch.equal(by_name, same)
    assert not torch.equal(by_name, run.sample(6, label=4, seed=4))
    assert torch.equal(saddlepoint.load(run.path).sample(6, label=3, seed=4), by_name)


def test_arrays_hold_what_was_asked_for_and_the_labels(run: saddlepoint.Run, tmp_path: Path) -> None:
    with np.load(pictures.draw(run, "grid", 40, seed=4, out=tmp_path / "many.npz")) as arrays:
        assert np.array_equal(arrays["labels"], run.labels(40, seed=4))
        assert np.array_equal(arrays["x"], grids.to_uint8(run.sample(40, seed=4)))
    with np.load(pictures.draw(run, "grid", 5, label="3", out=tmp_path / "threes.npz")) as arrays:
        assert arrays["labels"].tolist() == [3] * 5


def test_names_go_before_indices() -> None:
    assert class_index("1", ("2", "1", "0")) == 1
    assert class_index(2, ("cat", "dog", "ship")) == 2


@pytest.mark.parametrize(
    ("label", "names", "message"),
    [
        ("shp", ("cat", "ship"), "did you mean 'ship'"),
        (7, ("cat", "ship"), "no class '7' among the 2"),
        ("cat", (), "the generator is unconditional"),
    ],
)
def test_a_class_that_is_not_there_is_refused(label: int | str, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        class_index(label, names)


def test_samples_without_labels_are_refused(run: saddlepoint.Run) -> None:
    with pytest.raises(ConfigError, match="give the labels"):
        run.generate(run.inputs(3))


def test_pictures_have_a_class_in_each_column(run: saddlepoint.Run, tmp_path: Path) -> None:
    written = sorted((run.path / "samples").glob("step*.png"))
    assert snapshots.read_snapshot(written[-1]).shape == (60, 1, 8, 8)
    path = pictures.draw(run, "grid", 20, seed=3, out=tmp_path / "grid.png")
    samples = run.generate(run.inputs(20, seed=3), torch.arange(20) % 10, seed=3)
    shown = grids.grid(samples, 10, headings=run.family.data.classes)
    assert shown.height > grids.grid(samples, 10).height
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    from PIL import Image

    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(shown))


def test_an_interpolation_keeps_the_label_of_its_row(run: saddlepoint.Run, tmp_path: Path) -> None:
    with np.load(pictures.draw(run, "interpolation", 3, seed=5, out=tmp_path / "walk.npz")) as arrays:
        walked = arrays["x"]
    z0, z1 = run.inputs(6, seed=5).split(3)
    labels = torch.arange(3).repeat_interleave(10)
    assert np.array_equal(walked, grids.to_uint8(run.generate(grids.walk(z0, z1), labels, seed=5)))
    with np.load(pictures.draw(run, "interpolation", 3, seed=5, label=7, out=tmp_path / "seven.npz")) as arrays:
        sevens = arrays["x"]
    assert np.array_equal(sevens, grids.to_uint8(run.generate(grids.walk(z0, z1), torch.full((30,), 7), seed=5)))


def test_a_filmstrip_takes_no_label(run: saddlepoint.Run) -> None:
    with pytest.raises(ConfigError, match="leave the label out"):
        pictures.draw(run, "filmstrip", label=3)


def test_evaluation_knows_what_was_asked_for(run: saddlepoint.Run) -> None:
    subject = run.subject()
    assert subject.labels is not None
    asked = subject.labels(50, 2)
    assert np.array_equal(asked, run.labels(50, seed=2).numpy())  # type: ignore[union-attr]
    assert torch.equal(subject.sample(50, 2), run.generate(run.inputs(50, seed=2), torch.from_numpy(asked), seed=2))
    assert subject.latents is not None
    z = run.inputs(20)
    assert torch.equal(subject.latents.generate(z), subject.latents.generate(z))
    assert subject.logits is not None
    x = run.sample(20, seed=1)
    assert torch.equal(subject.logits(x, run.labels(20, seed=1).numpy()), run.logits(x, run.labels(20, seed=1)))  # type: ignore[union-attr]
