"""Walks in latent space: directions against singular vectors, exact ends, styles, projection onto known points."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Stage,
    StyleSpace,
    Tags,
    Terms,
)  # fmt: skip
from saddlepoint.figures import grids
from saddlepoint.nn.style import StyledLayer
from saddlepoint.run.run import Run
from saddlepoint.run.samples.latent import Explorer, Point, View, command
from tests.unit.data_helpers import pictures, write_folder
from tests.unit.serving import run_of

LATENT, FEATURES, LAYERS = 6, 9, 3


class Linear(Family):
    """G(z) = z A: everything about its latent space is known."""

    name, summary, tags, Config, averaged = "linear", "for tests", Tags(modalities=("vector",)), FamilyConfig, ()

    def __init__(self, matrix: Tensor, data: DataSpec) -> None:
        super().__init__(FamilyConfig(), data)
        self.matrix = torch.nn.Parameter(matrix)

    def reset_parameters(self, generator: torch.Generator) -> None: ...

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        return None

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, LATENT, generator=generator)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return inputs @ self.matrix


class Noisy(Linear):
    """Half of the features of every sample of a batch are dropped, others from row to row, as dropout does."""

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        kept = torch.rand(len(inputs), FEATURES, generator=generator) < 0.5
        return inputs @ self.matrix * kept


class Styled(StyleSpace, Linear):
    """The same through w = 2 z + 1, with a third of the matrix in each layer."""

    w_layers = LAYERS  # type: ignore[assignment]
    w_average = torch.ones(LATENT)  # type: ignore[assignment]

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        return 2 * inputs + 1

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Tensor:
        return torch.einsum("nlw,wf->nf", styles, self.matrix) / LAYERS

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.synthesis(self.mapping(inputs)[:, None].expand(-1, LAYERS, -1), generator=generator)


def made(kind: type[Linear]) -> Explorer:
    matrix = torch.randn(LATENT, FEATURES, generator=torch.Generator().manual_seed(5))
    family = kind(matrix, DataSpec("vector", (FEATURES,))).requires_grad_(False)
    return Explorer(Run(Path("runs/linear"), {}, family, 0, True))


@pytest.fixture(params=[Linear, Styled])
def explorer(request: pytest.FixtureRequest) -> Explorer:
    return made(request.param)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16, "latent_size": 4}
    folder = tmp_path_factory.mktemp("latent") / "run"
    return saddlepoint.train("cgan", data="digits", steps=12, options=options, threads=1, out=folder)


def test_directions_are_the_singular_vectors_of_a_linear_generator(explorer: Explorer) -> None:
    left, _, _ = np.linalg.svd(explorer.family.matrix.numpy())
    found = explorer.directions.numpy()
    assert found.shape == (LATENT, LATENT)
    np.testing.assert_allclose(np.abs(np.sum(found * left.T, 1)), 1, atol=1e-4)
    assert (found[np.arange(LATENT), np.abs(found).argmax(1)] > 0).all()


def test_dropout_does_not_pass_for_a_direction() -> None:
    explorer = made(Noisy)
    kept = torch.rand(1, FEATURES, generator=stream("cpu", "generate", 0, 0)) < 0.5
    left, values, _ = np.linalg.svd((explorer.family.matrix * kept).numpy())
    telling = int((values > 1e-3).sum())
    assert telling > 1
    np.testing.assert_allclose(np.abs(np.sum(explorer.directions.numpy() * left.T, 1))[:telling], 1, atol=1e-4)


def test_the_place_of_a_seed_is_the_sample_of_that_seed(explorer: Explorer, digits: Run) -> None:
    for here in (explorer, Explorer(digits)):
        for seed in (0, 7):
            torch.testing.assert_close(
                here.sample(View((Point(seed),))), here.run.sample(1, seed=seed), rtol=0, atol=1e-6
            )
    assert torch.equal(Explorer(digits).sample(View((Point(3),), label=5)), digits.sample(1, seed=3, label=5))


def test_a_move_is_that_many_standard_deviations_along_the_direction(explorer: Explorer) -> None:
    still, moved = explorer.sample(View()), explorer.sample(View((Point(0, ((2, 1.5),)),)))
    expected = 1.5 * explorer.spread * explorer.directions[1] @ explorer.family.matrix
    torch.testing.assert_close(moved - still, expected[None], rtol=1e-4, atol=1e-4)
    assert explorer.spread == pytest.approx(2.0 if isinstance(explorer.family, StyleSpace) else 1.0, rel=0.05)


def test_truncation_shrinks_the_way_to_the_mean(explorer: Explorer) -> None:
    mean = explorer.mean @ explorer.family.matrix
    whole = explorer.sample(View((Point(4),))) - mean
    for share in (0.0, 0.5):
        part = explorer.sample(View((Point(4),), truncation=share)) - mean
        torch.testing.assert_close(part, share * whole, rtol=1e-4, atol=1e-5)


def test_a_path_goes_straight_through_its_points(explorer: Explorer) -> None:
    points = (Point(1), Point(2, ((1, 2.0),)), Point(3))
    ends = [explorer.sample(View((point,))) for point in points]
    for place, end in enumerate(ends):
        torch.testing.assert_close(explorer.sample(View(points, at=float(place))), end, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        explorer.sample(View(points, at=1.25)), 0.75 * ends[1] + 0.25 * ends[2], rtol=1e-4, atol=1e-4
    )
    film = explorer.path(View(points), 5)
    torch.testing.assert_close(film[[0, 2, 4]], torch.cat(ends), rtol=1e-5, atol=1e-5)


def test_styles_are_mixed_from_a_layer_on() -> None:
    explorer = made(Styled)
    one, two = explorer.sample(View((Point(1),))), explorer.sample(View((Point(2),)))
    for layer in range(LAYERS):
        mixed = explorer.sample(View((Point(1),), mix=(2, layer)))
        torch.testing.assert_close(mixed, (layer * one + (LAYERS - layer) * two) / LAYERS, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="no layer 3; the generator has 0 to 2"):
        explorer.sample(View(mix=(2, 3)))
    with pytest.raises(ConfigError, match="no styles to mix"):
        made(Linear).sample(View(mix=(2, 0)))


def test_a_conditional_walk_in_w_stays_in_its_class_and_pieces_make_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"width": 4, "max_width": 8, "w_size": 8, "latent_size": 6, "batch_size": 4, "conditional": True}
    run = saddlepoint.train("stylegan", "digits", options=small, steps=1, out=tmp_path / "run")
    space = run.subject().styles
    assert space is not None
    for seed in (1, 2):
        drawn = space.draw(5, torch.Generator().manual_seed(seed))
        z = run.family.sample_inputs(5, torch.Generator().manual_seed(seed))
        assert torch.equal(drawn, run.codes(z, run.labels(5)))
    styles = drawn[:, None].repeat(1, run.family.w_layers, 1)
    whole = run.synthesise(styles)
    monkeypatch.setattr("saddlepoint.run.generator._CHUNK", 2)
    torch.testing.assert_close(run.synthesise(styles), whole)


def test_pictures_are_framed_as_in_training(tmp_path: Path) -> None:
    """A white picture, twice as wide as high: cropped it is white all over, padded it has bars of the background."""
    Image.new("L", (40, 20), 255).save(tmp_path / "wide.png")
    widths = {"generator_widths": (8,), "discriminator_widths": (8,)}
    folder = write_folder(tmp_path / "data", pictures(20, 16, 1), ["a"] * 20)
    for fit, ground, mean in (("crop", "black", 1.0), ("pad", "black", 0.0), ("pad", "white", 1.0)):
        out = tmp_path / f"{fit}-{ground}"
        run = saddlepoint.train("gan", str(folder), steps=1, fit=fit, background=ground, out=out, options=widths)
        given = run.read_pictures([("wide.png", (tmp_path / "wide.png").read_bytes())])
        assert given.mean().item() == pytest.approx(mean, abs=0.01)


def test_the_samples_of_a_projection_are_those_whose_errors_are_told() -> None:
    explorer = made(Noisy)
    given = explorer.run.sample(3, seed=11)
    found = explorer.project(given, steps=20)
    torch.testing.assert_close((found.samples - given).square().mean(1), found.losses[-1])


def test_noise_is_that_of_the_seed_in_projections_and_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "data", pictures(20, 16, 1), ["a"] * 20)
    small = {"width": 4, "max_width": 8, "w_size": 8, "latent_size": 4, "mapping_depth": 2, "batch_size": 4}
    run = saddlepoint.train("stylegan", str(folder), steps=4, out=tmp_path / "run", options=small, precision="fp32")
    with torch.no_grad():
        for layer in run.family.modules():
            if isinstance(layer, StyledLayer):
                layer.strength.fill_(1.0)
    found = Explorer(run).project(run.sample(2, seed=3), steps=5, seed=7)
    torch.testing.assert_close(run.synthesise(found.codes, seed=7), found.samples, rtol=0, atol=1e-5)
    # Large pictures go through the networks in pieces, with the same noise.
    evaluator = Evaluator(run.dataset(), 0, "cpu")

    def drawn() -> list[torch.Tensor]:
        evaluation = evaluator._samples(run.family)
        assert evaluation.logits is not None
        return [run.sample(10, seed=3), run.synthesise(found.codes, seed=7), evaluation.points, evaluation.logits]

    whole = drawn()
    monkeypatch.setattr(runtime, "PIXELS", 3 * 16**2)
    for one, other in zip(whole, drawn(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert whole[3].shape == (256,)


def test_a_path_between_classes_ends_at_its_ends(digits: Run) -> None:
    labels = digits.labels(1, seed=3), digits.labels(1, seed=8)
    assert labels[0] != labels[1]
    found = Explorer(digits).path(View((Point(3), Point(8))), 5)
    for seed, sample in ((3, found[0]), (8, found[-1])):
        torch.testing.assert_close(sample[None], digits.sample(1, seed=seed), rtol=0, atol=1e-6)


def test_projection_finds_what_the_generator_made(explorer: Explorer) -> None:
    given = explorer.run.sample(3, seed=11)
    steps: list[int] = []
    found = explorer.project(given, steps=150, progress=lambda step, losses: steps.append(step))
    assert (found.losses[-1] < 1e-3 * found.mean_losses).all()
    assert (found.losses[1:] <= found.losses[:-1]).all()
    assert steps == list(range(150))
    torch.testing.assert_close((found.samples - given).square().mean(1), found.losses[-1], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(()), "0 points span"),
        (View(at=0.5), "1 points span 0 to 0"),
        (View(truncation=-1.0), "truncation is -1"),
        (View(truncation=float("nan")), "truncation is nan"),
        (View(truncation=float("inf")), "truncation is inf"),
        (View((Point(0, ((7, 1.0),)),)), "there is no direction 7; 'linear' has 6"),
    ],
)
def test_places_that_do_not_exist_are_refused(view: View, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(Linear).sample(view)


@pytest.mark.parametrize("text", ["", "x", "3,1", "3,0=1", "3,1=x", "-1"])
def test_points_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"it must be SEED or SEED,DIRECTION=AMOUNT"):
        Point.parse(text)


def test_points_survive_their_words() -> None:
    for point in (Point(), Point(3, ((1, 2.0), (4, -1.5)))):
        assert Point.parse(str(point)) == point


def test_wrong_shapes_are_refused_before_the_search() -> None:
    with pytest.raises(ConfigError, match=r"the images are \(4,\), but the generator makes \(9,\)"):
        made(Linear).project(torch.zeros(2, 4))


def test_the_command_and_the_line_of_python_make_the_same_picture(digits: Run, tmp_path: Path) -> None:
    view = View((Point(3, ((1, 2.0),)), Point(5)), at=0.25, label="7", truncation=0.5)
    expected = grids.single(Explorer(digits).sample(view)[0], scale=28)
    assert expected.size == (224, 224)
    line, python = command(digits, view)
    words = [*line.split()[1:], "--out", str(tmp_path / "place.png")]
    outcome = CliRunner().invoke(app, words, catch_exceptions=False)
    assert outcome.exit_code == 0
    with Image.open(tmp_path / "place.png") as picture:
        assert picture.tobytes() == expected.tobytes()
    shown = subprocess.run(
        [sys.executable, "-c", python.replace("sp.Explorer", "x = sp.Explorer") + "\nprint(float(x.sum()))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(shown.stdout) == pytest.approx(float(Explorer(digits).sample(view).sum()), rel=1e-5)


def test_the_command_draws_sheets_films_and_projections(digits: Run, tmp_path: Path) -> None:
    runner = CliRunner()

    def explored(*words: str) -> str:
        outcome = runner.invoke(app, ["explore", str(digits.path), *words], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        return outcome.output.strip()

    with Image.open(explored()) as sheet:
        assert sheet.height > 4 * 8
    film = explored("--point", "1", "--point", "2", "--frames", "5", "--out", str(tmp_path / "film.gif"))
    with Image.open(film) as frames:
        assert frames.n_frames == 5
    film = explored("--point", "1", "--point", "2", "--frames", "5", "--out", str(tmp_path / "film.mp4"))
    with av.open(film) as opened:
        shots = [shot.to_ndarray(format="rgb24") for shot in opened.decode(video=0)]
    ends = [grids.single(x) for x in Explorer(digits).path(View((Point(1), Point(2))), 5)]
    assert len(shots) == 5
    for shot, sample in ((shots[0], ends[0]), (shots[-1], ends[-1])):
        seen = np.asarray(Image.fromarray(shot).convert("L").resize((8, 8), Image.Resampling.BOX), float)
        assert np.abs(seen - np.asarray(sample.convert("L").resize((8, 8), Image.Resampling.BOX))).mean() < 3
    Image.new("RGB", (30, 20), "white").save(tmp_path / "me.png")
    told = explored("--project", str(tmp_path / "me.png"), "--out", str(tmp_path / "found.png"))
    assert "me.png: mean squared error" in told
    with np.load(tmp_path / "found.npz") as kept:
        assert kept["codes"].shape == Explorer(digits).codes(digits.inputs(1), digits.labels(1)).shape
        assert f"error {kept['losses'][-1, 0]:.4f}" in told
    with Image.open(tmp_path / "found-losses.png") as curve:
        assert curve.width > curve.height > 100
    with pytest.raises(ConfigError, match=r"should end in \.png for a picture, or in \.gif or \.mp4"):
        runner.invoke(app, ["explore", str(digits.path), "--out", "x.bmp"], catch_exceptions=False)
    with pytest.raises(ConfigError, match=r"there is one point only; give --point a second time .--point 4 --point 5"):
        runner.invoke(app, ["explore", str(digits.path), "--point", "4", "--out", "x.gif"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="mix is '3', but it must be SEED:LAYER"):
        runner.invoke(app, ["explore", str(digits.path), "--mix", "3"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "preset", "does"),
    [("stargan", "tiny-32", "translates given images"), ("timegan", "increments", "draws anew in each step")],
)
def test_what_has_no_latent_space_is_told_what_it_does(name: str, preset: str, does: str) -> None:
    with pytest.raises(ConfigError, match=rf"'made' {does}.*: it has no latent space to walk in"):
        Explorer(run_of(name, preset))
