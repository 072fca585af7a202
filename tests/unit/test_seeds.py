"""Samples by their seeds: the same picture whatever else is asked for, in files, sheets and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError
from saddlepoint.family import StyleSpace
from saddlepoint.figures import grids
from saddlepoint.run.run import Run
from saddlepoint.run.samples.seeds import draw_seeds, parse_seeds, sheet
from tests.contract.presets import untrained


def run_of(name: str, preset: str, path: Path = Path("made")) -> Run:
    """Return an untrained run; a generator's mean of w is where its samples are not."""
    family, dataset = untrained(name, preset)
    data = {"modality": dataset.modality, "shape": list(dataset.spec.shape), "classes": list(dataset.spec.classes)}
    if isinstance(family, StyleSpace):
        family.w_average.fill_(1.0)
    return Run(path, {"family": name, "data": {**data, "source": "made"}}, family, 1, True)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [3]), ("0-2,100", [0, 1, 2, 100]), (" 5 , 1-2", [5, 1, 2]), ("2,0-3,2", [2, 0, 1, 3]), ("7-7", [7])],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be whole numbers and ranges such as 0-63,100"),
        ("a", "seeds are 'a'"),
        ("1,,2", "must be"),
        ("-3", "must be"),
        ("1.5", "must be"),
        ("٣", "must be"),
        ("9-3", "range 9-3 runs backwards; give 3-9"),
        ("0-100000", "more than 100,000"),
        ("0-99999999999999", "more than 100,000"),
    ],
)
def test_what_is_no_seed_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("name", "preset", "truncation"),
    [("gan", "mnist", None), ("cgan", "mnist-2014", None), ("stylegan", "tiny-32", 0.5), ("stargan", "tiny-32", None)],
)
def test_a_seed_is_the_same_picture_in_any_company(name: str, preset: str, truncation: float | None) -> None:
    run = run_of(name, preset)
    alone = run.sample(1, seed=7, truncation=truncation)
    for seeds in ([7], [1, 7, 3], list(range(5, 9))):
        found = run.sample_seeds(seeds, truncation=truncation)
        assert torch.equal(found[seeds.index(7)], alone[0])
    assert not torch.equal(found[0], alone[0])


def test_truncation_goes_along_the_line_from_the_mean() -> None:
    run = run_of("stylegan", "tiny-32")
    whole, plain = run.sample_seeds([3], truncation=1.0), run.sample_seeds([3])
    assert torch.allclose(whole, plain, atol=1e-5), "a truncation of 1 changes nothing"
    mean, other = run.sample_seeds([3], truncation=0.0), run.sample_seeds([4], truncation=0.0)
    assert not torch.allclose(mean, plain, atol=1e-2)
    middle = run.sample_seeds([3], truncation=0.5)
    assert not torch.allclose(middle, plain, atol=1e-3)
    assert not torch.allclose(middle, mean, atol=1e-3)
    assert (mean - other).abs().mean() < 0.5 * (plain - run.sample_seeds([4])).abs().mean()
    with pytest.raises(ConfigError, match="has no w to truncate"):
        run_of("gan", "mnist").sample_seeds([0], truncation=0.5)


def test_files_are_named_by_their_seeds_and_hold_their_samples(tmp_path: Path) -> None:
    run = run_of("cgan", "mnist-2014")
    folder = draw_seeds(run, "0-2,12345", tmp_path / "made", label="b")
    names = ["seed00000.png", "seed00001.png", "seed00002.png", "seed12345.png"]
    assert sorted(path.name for path in folder.glob("*.png")) == names
    expected = grids.to_uint8(run.sample_seeds([0, 1, 2, 12345], label="b"))
    for name, x in zip(names, expected, strict=True):
        with Image.open(folder / name) as image:
            assert np.array_equal(np.asarray(image), x[0])
    assert (folder / "metadata.jsonl").read_text().count('"label": "b"') == 4
    again = draw_seeds(run, "2", tmp_path / "one", label="b", kind="webp")
    with Image.open(again / "seed0002.webp") as image:
        assert np.array_equal(np.asarray(image.convert("L")), expected[2][0])
    jpg = draw_seeds(run, "2", tmp_path / "jpg", label="b", kind="jpg")
    with Image.open(jpg / "seed0002.jpg") as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image, float) - expected[2][0]).mean() < 8
    with pytest.raises(ConfigError, match="not an empty folder"):
        draw_seeds(run, "2", tmp_path / "one", label="b")


def test_a_sheet_shows_each_seed_above_its_number(tmp_path: Path) -> None:
    run = run_of("cgan", "mnist-2014")
    path = draw_seeds(run, "4,9", tmp_path / "sheet.png")
    names = [run.family.data.classes[int(run.labels(1, seed=seed))] for seed in (4, 9)]  # type: ignore[arg-type]
    wanted = grids.grid(run.sample_seeds([4, 9]), titles=[f"4 {names[0]}", f"9 {names[1]}"])
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(wanted))
    with Image.open(draw_seeds(run, "4,9", tmp_path / "sheet.jpg")) as image:
        assert image.size == wanted.size
        assert image.format == "JPEG"
    assert sheet(run, [4, 9]).size == wanted.size
    with np.load(draw_seeds(run, "9,4", tmp_path / "x.npz", label="c")) as arrays:
        assert arrays["seeds"].tolist() == [9, 4]
        assert arrays["labels"].tolist() == [2, 2]
        assert np.array_equal(arrays["x"], grids.to_uint8(run.sample_seeds([9, 4], label="c")))


def test_series_get_a_file_for_each_seed(tmp_path: Path) -> None:
    run = run_of("timegan", "increments", tmp_path)
    folder = draw_seeds(run, "0-1", tmp_path / "made", n=3)
    for seed in (0, 1):
        alone = run.write(tmp_path / f"alone{seed}.csv", 3, seed=seed)
        assert (folder / f"seed{seed:04d}.csv").read_bytes() == alone.read_bytes()
    for words, message in (
        ({"out": tmp_path / "x.csv"}, "each seed gets its own; name a folder"),
        ({"kind": "png"}, "format is 'png'"),
        ({"truncation": 0.5}, "has no w to truncate"),
    ):
        with pytest.raises(ConfigError, match=message):
            draw_seeds(run, "0", **words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"n": 4}, "-n is for series"),
        ({"start": "2016"}, "--start is for series"),
        ({"kind": "csv"}, "format is 'csv'"),
        ({"out": Path("x.png"), "kind": "png"}, "is a file; name a folder"),
        ({"out": Path("x.tiff")}, "should end in .png"),
        ({"truncation": 0.7}, "no w to truncate"),
        ({"label": "zebra"}, "no class 'zebra'"),
    ],
)
def test_what_does_not_fit_seeds_is_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_seeds(run_of("cgan", "mnist-2014"), "0-3", **words)  # type: ignore[arg-type]


def test_the_command_takes_seeds_or_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("cgan", "mnist-2014")
    monkeypatch.setattr("saddlepoint.run.api.load", lambda *words, **more: run)
    done = CliRunner().invoke(
        app, ["sample", str(tmp_path), "--seeds", "0-3", "--label", "1", "--out", f"{tmp_path}/x/"]
    )
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "x").glob("seed000?.png"))) == 4
    for words in (["--seed", "1"], ["--picture", "neighbours"]):
        with pytest.raises(ConfigError, match="leave out --picture and --seed"):
            CliRunner().invoke(app, ["sample", str(tmp_path), "--seeds", "0", *words], catch_exceptions=False)
