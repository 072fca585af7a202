"""Own pictures: tuned generators make them and leave the rest, places and named directions come back, labels lead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli.main import app
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.family import DataSpec
from saddlepoint.figures.grids import to_uint8
from saddlepoint.run.run import Run
from saddlepoint.run.samples.attributes import _normal, learn_direction
from saddlepoint.run.samples.editing import edit_pictures
from saddlepoint.run.samples.latent import Explorer, Point, View
from saddlepoint.run.samples.likeness import Likeness
from saddlepoint.run.samples.places import DIRECTIONS, PIVOTS, Direction, Pivots, keep_direction, word_of
from saddlepoint.run.samples.projecting import Search
from saddlepoint.run.samples.session import Session
from saddlepoint.run.samples.tuning import Tuning, tune
from tests.unit.data_helpers import pictures, png, write_folder
from tests.unit.test_dragging import SIDE, Blobs


class Painted(Blobs):
    """G(z) = A z + b as a picture: any picture can be its b."""

    averaged = ("painter",)

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.painter = nn.Linear(4, SIDE * SIDE)
        with torch.no_grad():
            self.painter.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
            self.painter.bias.zero_()

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.painter(inputs).view(-1, 1, SIDE, SIDE)


def painted() -> Explorer:
    family = Painted(DataSpec("image", (1, SIDE, SIDE))).requires_grad_(False)
    return Explorer(Run(Path("runs/painted"), {}, family, 0, True))


def test_a_tuned_generator_makes_the_picture_and_the_first_one_stays() -> None:
    explorer, likeness = painted(), Likeness(None)
    image = torch.from_numpy(pictures(1, SIDE)).float().view(1, 1, SIDE, SIDE) / 127.5 - 1
    before = {name: value.clone() for name, value in explorer.family.state_dict().items()}
    found = explorer.project(image, steps=100)
    assert float(found.squares) > 0.05  # no z makes it
    free, held = (
        tune(explorer, image, found.codes, None, likeness, Tuning(200, lr=0.01, locality=weight)) for weight in (0, 3.0)
    )
    assert float(free.squares) < 1e-2 * float(found.squares)
    assert float(free.losses[-1]) < float(free.losses[0])
    # What keeps other samples as they were costs some of the picture.
    assert held.beside < 0.7 * free.beside
    assert float(held.squares) > float(free.squares)
    torch.testing.assert_close(free.run.generate(found.codes, seed=0), free.samples)
    assert all(torch.equal(value, before[name]) for name, value in explorer.family.state_dict().items())
    assert not any(p.requires_grad for p in free.run.family.parameters())
    still = tune(explorer, image, found.codes, None, likeness, Tuning(0))
    assert still.beside == 0
    torch.testing.assert_close(still.samples, found.samples)


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("styled")
    folder = write_folder(place / "data", pictures(80, 16, 3), ["cold", "warm"] * 40)
    small = {"width": 4, "max_width": 8, "w_size": 8, "latent_size": 4, "mapping_depth": 2, "batch_size": 4}
    return saddlepoint.train("stylegan", str(folder), steps=4, threads=1, out=place / "run", options=small)


def given(seed: int = 9) -> tuple[str, bytes]:
    return f"me{seed}.png", png(pictures(1, 16, 3, seed)[0])


def test_an_edited_picture_is_a_run_of_its_own(styled: Run, tmp_path: Path) -> None:
    explorer, out = Explorer(styled), tmp_path / "edited"
    quick: dict[str, Any] = {"search": Search(20, space="w", seed=3), "tuning": Tuning(60, lr=0.01)}
    found = edit_pictures(explorer, [given()], out=out, **quick)
    errors = found.errors[0]
    assert errors["tuned"] < 0.7 * errors["projected"] <= errors["projected"] < errors["before"]
    run = saddlepoint.load(out)
    own = Explorer(run)
    assert len(own.pivots) == 1
    torch.testing.assert_close(own.sample(View((Point.parse("pivot1"),))), found.tuned.samples, rtol=0, atol=1e-3)
    assert len({tuple(layer.tolist()) for layer in own.pivots.code(1)}) == 1  # in w, which can be edited
    (edit,) = run.config["edits"]
    assert (edit["run"], edit["kind"], edit["step"]) == ("run", "pivotal tuning", styled.step)
    assert edit["pictures"][0]["name"] == "me9.png"
    assert edit["errors"][0] == pytest.approx(errors)
    for name in ("before", "after", "given-projected-tuned"):
        assert (out / "pictures" / f"{name}.png").is_file()
    # Another one in it: both places, both edits, the first run's weights as they were.
    two = edit_pictures(own, [given(5)], out=tmp_path / "two", **quick)
    assert two.pivots == (2,)
    again = saddlepoint.load(two.path)
    assert [one["run"] for one in again.config["edits"]] == ["run", "edited"]
    torch.testing.assert_close(Explorer(again).pivots.code(1), own.pivots.code(1))
    torch.testing.assert_close(saddlepoint.load(styled.path).sample(2), styled.sample(2), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="is there already"):
        edit_pictures(explorer, [given()], out=out, **quick)


def test_a_place_is_kept_with_a_style_for_each_layer(styled: Run, tmp_path: Path) -> None:
    explorer = Explorer(styled)
    session = Session(explorer, "4")
    session.add_words("5,5 9,9")
    session.begin()
    for _ in range(3):
        session.step()
    session.end()
    session.attempt(1, 1.5)
    session.accept()
    run = saddlepoint.load(session.keep(tmp_path / "kept"))
    own = Explorer(run)
    torch.testing.assert_close(own.sample(View((Point.parse("pivot1"),))), session.sample, rtol=0, atol=1e-3)
    assert [step["kind"] for step in run.config["edits"][0]["steps"]] == ["drag", "direction"]
    # Pivots and seeds are ends of paths, and are moved and truncated as any place is.
    path = own.path(View((Point.parse("pivot1"), Point(3))), 3)
    torch.testing.assert_close(path[:1], session.sample, rtol=0, atol=1e-3)
    torch.testing.assert_close(path[2:], own.sample(View((Point(3),))), rtol=0, atol=1e-3)
    mean = own.sample(View((Point.parse("pivot1,1=2"),), truncation=0.0))
    torch.testing.assert_close(mean, own.sample(View((Point(0),), truncation=0.0)), rtol=0, atol=1e-3)
    assert not torch.equal(own.sample(View((Point.parse("pivot1,1=2"),))), session.sample)
    with pytest.raises(ConfigError, match="there is no pivot 2: this run keeps pivot1 to pivot1"):
        own.sample(View((Point.parse("pivot2"),)))
    with pytest.raises(ConfigError, match="this run keeps none"):
        explorer.sample(View((Point.parse("pivot1"),)))


def test_the_commands(styled: Run, tmp_path: Path) -> None:
    (tmp_path / "me.png").write_bytes(given()[1])

    def saddle(*words: object) -> str:
        outcome = CliRunner().invoke(app, [*map(str, words), "--threads", "1"], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    out = tmp_path / "mine"
    told = saddle(
        "edit", styled.path, tmp_path / "me.png", "--steps", 10, "--tuning-steps", 20, "--lr", 0.01, "--out", out
    )
    assert "me.png: pivot1; pixels distance" in told
    assert told.splitlines()[-1] == str(out)
    told = saddle(
        "drag", out, "--point", "pivot1", "--from", "5,5", "--to", "9,9", "--region", "2,2,12,12", "--steps", 4,
        "--keep", tmp_path / "dragged", "--out", tmp_path / "film.gif",
    )  # fmt: skip
    assert "after 4 steps" in told
    assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"
    kept = saddlepoint.load(tmp_path / "dragged")
    assert [one["kind"] for one in kept.config["edits"]] == ["pivotal tuning", "drag"]
    assert len(Explorer(kept).pivots) == 2
    told = saddle("explore", styled.path, "--attribute", "warm", "--point", "0,1=2", "--out", tmp_path / "still.png")
    assert "warm: right on" in told
    saddle("explore", styled.path, "--point", "0,warm=2", "--out", tmp_path / "warm.png")
    assert (tmp_path / "warm.png").read_bytes() != (tmp_path / "still.png").read_bytes()


class Blobbed(Run):
    """A run whose data are blobs, with the side on which the first one lies as the label."""

    def dataset(self, say: Any = None) -> Dataset:
        codes = self.inputs(400, seed=77)
        x = to_uint8(self.generate(codes))
        labels = (codes[:, 0] > 0).long().numpy()
        return load_dataset((x[:, 0], labels))


def blobbed(path: Path) -> Explorer:
    return Explorer(Blobbed(path, {}, Blobs(DataSpec("image", (1, SIDE, SIDE))).requires_grad_(False), 0, True))


def test_the_direction_of_a_label_is_the_coordinate_that_makes_it(tmp_path: Path) -> None:
    explorer = blobbed(tmp_path)
    names = explorer.run.dataset().classes
    word, found = learn_direction(explorer, names[1], n=1000)
    assert word == word_of(names[1])
    assert float(found.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert float(found.vector[0]) > 0.95  # the first coordinate, to the right
    less, none, more = found.about["share"]
    assert less < 0.2 < none < 0.8 < more
    assert found.about["accuracy"] > 0.9
    kept = Explorer(Run(tmp_path, {}, explorer.family, 0, True))
    torch.testing.assert_close(kept.direction(word), found.vector)
    moved = kept.code(Point.parse(f"0,{word}=1.5")) - kept.code(Point(0))
    torch.testing.assert_close(moved, 1.5 * kept.spread * found.vector, rtol=1e-4, atol=1e-5)
    assert kept.offered[-1] == word
    with pytest.raises(DataError, match="has no label 'nobody'"):
        learn_direction(explorer, "nobody")


def test_a_label_that_samples_do_not_differ_in_is_refused() -> None:
    codes = np.random.default_rng(0).normal(size=(200, 4))
    with pytest.raises(DataError, match="do not differ in 'x'"):
        _normal(codes, np.full(200, 0.3), "x")
    # Chance is told as such.
    _, accuracy = _normal(codes, np.random.default_rng(1).random(200), "x")
    assert 0.2 < accuracy < 0.8


def test_damaged_files_are_refused_in_words(tmp_path: Path) -> None:
    explorer = blobbed(tmp_path)
    keep_direction(tmp_path, "old", Direction(torch.eye(4)[1], {}))
    assert list(explorer.named) == ["old"]
    for text in ("{", "[1]", json.dumps({"x": {"vector": [1, 2], "about": {}}}),
                 json.dumps({"x": {"vector": [1, 2, 3, "4"], "about": {}}})):  # fmt: skip
        (tmp_path / DIRECTIONS).write_text(text)
        with pytest.raises(CheckpointError, match="remove it"):
            explorer.direction("x")
    (tmp_path / PIVOTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is damaged"):
        explorer.code(Point.parse("pivot1"))
    (tmp_path / DIRECTIONS).unlink()
    with pytest.raises(ConfigError, match="no direction 'glasses'"):
        explorer.direction("glasses")


def test_pivots_are_counted_from_one() -> None:
    pivots = Pivots(torch.arange(6.0).view(3, 2), torch.tensor([7, -1, 5]))
    for number in (1, 2, 3):
        assert torch.equal(pivots.code(number), pivots.codes[number - 1])
        assert torch.equal(pivots.label(number), pivots.labels[number - 1][None])
    for number, words in ((0, "keeps pivot1 to pivot3"), (4, "keeps pivot1 to pivot3")):
        with pytest.raises(ConfigError, match=words):
            pivots.code(number)
    with pytest.raises(ConfigError, match="this run keeps none"):
        Pivots(torch.zeros(0, 2), torch.zeros(0)).code(1)
