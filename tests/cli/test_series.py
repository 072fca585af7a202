"""A newcomer's table through the command: train, go on, sample in its own units, look at it; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, Split, load_samples
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.figures import plots, snapshots
from saddlepoint.run import api
from tests.cli.test_cli import saddle  # noqa: F401
from tests.unit.test_series import DAYS, shops

Command = Callable[..., tuple[int, str, str]]
SMALL = ["--batch-size", "16", "--width", "8", "--layers", "2", "--precision", "fp32", "--threads", "1"]
TABLE = ["--group-column", "shop", "--window", "12", "--series", "alike", "--calendar", "off"]
TRAIN = ["train", "timegan", "--data", "a.csv", *TABLE, "--no-report", *SMALL]


def test_three_commands_from_a_table_to_a_table(saddle: Command) -> None:  # noqa: F811
    shops(Path("a.csv"), rows=200)
    assert saddle(*TRAIN, "--steps", "1", "--out", "run")[0] == 0
    kept = json.loads(Path("run/config.json").read_text())["data"]
    told = {"group_column": "shop", "window": 12, "series": "alike", "calendar": "off"}
    assert kept["options"] == told
    assert (kept["static"], kept["shape"]) == (1, [12, 3])
    code, out, _ = saddle("sample", "run", "-n", "7", "--format", "csv", "--threads", "1")
    assert code == 0
    header, *lines = Path(out.strip()).read_text().replace('"', "").splitlines()
    assert header == "window,date,shop,size,visitors,price"
    assert len(lines) == 7 * 12
    rows = [line.split(",") for line in lines]
    assert [row[0] for row in rows[::12]] == [str(i) for i in range(7)]
    assert [row[1] for row in rows] == [str(day) for day in DAYS[230 : 230 + 84]], "no time comes twice"
    assert all(row[3].lstrip("-").isdecimal() and row[4].lstrip("-").isdecimal() for row in rows)
    # sizes are static: one for each window, and each is a series of its own
    assert all(len({row[3] for row in rows[start : start + 12]}) == 1 for start in range(0, len(rows), 12))
    assert [row[2] for row in rows[::12]] == [f"sample {i}" for i in range(7)]
    # the data is not needed for it, and arrays and tables say the same
    Path("a.csv").rename("away.csv")
    assert saddle("sample", "run", "-n", "7", "--out", "s.npz", "--threads", "1")[0] == 0
    with np.load("s.npz") as arrays:
        assert arrays["columns"].tolist() == ["visitors", "price", "size"]
        assert arrays["x"][..., 0].ravel().tolist() == [float(row[4]) for row in rows]
    Path("away.csv").rename("a.csv")
    # what is measured is what the file holds: whole numbers, two decimals, static columns
    run = api.load("run")
    assert np.array_equal(run.subject().sample(7, 0), load_samples(Path("s.npz"), run.dataset())[0])
    # going on prepares the same windows again
    code, _, err = saddle("train", "--resume", "run", "--steps", "2", "--threads", "1", "--no-report")
    assert (code, "going on" in err) == (0, True)
    assert api.load("run").step == 2
    for picture in ("grid", "filmstrip", "neighbours", "interpolation"):
        code, out, _ = saddle("sample", "run", "-n", "4", "--picture", picture, "--threads", "1")
        assert code == 0
        assert len(np.unique(np.asarray(Image.open(out.strip())).reshape(-1, 3), axis=0)) > 2


def test_inspect_and_refusals(saddle: Command) -> None:  # noqa: F811
    shops(Path("a.csv"), rows=200)
    code, out, _ = saddle("data", "inspect", "a.csv", "--group-column", "shop", "--window", "12")
    assert code == 0
    assert "'date' goes on at steps of 1 day; 3 gaps" in out
    code, recognised, _ = saddle("data", "inspect", "a.csv", "--window", "12")
    assert code == 0
    assert "'shop' tells 3 series apart (north, south, west)" in recognised
    assert "--group-column" in recognised
    for words, message in (
        (["data", "inspect", "a.csv", "--group-column", "shp"], "did you mean 'shop'?"),
        (["data", "inspect", "digits", "--window", "3"], "--window is for tables"),
        (["train", "--data", "digits", "--columns", "a", "--steps", "1"], "--columns is for tables"),
        (
            ["train", "gan", "--data", "a.csv", "--group-column", "shop", "--steps", "1"],
            "not on tables of series",
        ),
        (["train", "--resume", "run", "--window", "3"], "leave out --window"),
        (["evaluate", "run", "--window", "3"], "leave out --window"),
    ):
        code, _, err = saddle(*words)
        assert code == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1


def test_a_format_is_for_series(saddle: Command) -> None:  # noqa: F811
    small = ["--generator-widths", "8", "--discriminator-widths", "8", "--threads", "1", "--no-report"]
    assert saddle("train", "--data", "digits", "--steps", "2", "--out", "run", *small)[0] == 0
    code, _, err = saddle("sample", "run", "--format", "csv")
    assert (code, "which have no columns" in err) == (2, True)
    code, _, err = saddle("sample", "run", "--format", "xls")
    assert (code, "choose from: csv, npz, parquet" in err) == (2, True)


def test_snapshots_of_series_are_read_again_and_make_a_filmstrip(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((50, 10, 2)).astype(np.float32)
    x = torch.from_numpy(data[:6]).clone()
    x[1, 7:] = np.nan
    paths = [snapshots.save_snapshot(tmp_path, step, x * (1 - step / 4), data) for step in (0, 1)]
    first = snapshots.read_snapshot(paths[0])
    drawn = np.asarray(plots.paths(x.numpy(), plots.spread(data, 6)))
    assert np.array_equal(first[0].transpose(1, 2, 0), drawn)
    strip = snapshots.filmstrip(tmp_path)
    assert strip.height >= 2 * first.shape[2]
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="1 of 6 samples are not finite"):
        snapshots.save_snapshot(tmp_path, 2, x, data)


def test_the_doctor_sees_that_lengths_differ() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((600, 12, 2)).astype(np.float32)
    x[::2, 6:] = np.nan
    parts = {split: Split(x[start::3]) for start, split in enumerate(("train", "valid", "test"))}
    evaluator = Evaluator(Dataset("x", "sequence", parts, (), ""), 0, "cpu")
    same = evaluator._of_samples(evaluator.reference.project(torch.from_numpy(x[1::3])))
    whole = rng.random((200, 12, 2)).astype(np.float32)
    short = evaluator._of_samples(evaluator.reference.project(torch.from_numpy(whole)))
    assert all(np.isfinite(value) for value in same.values())
    assert same["raw distance"] < 4 * same["raw distance error"] + 1e-3
    assert short["raw distance"] > 0.05
    assert same["coverage"] > 0.9
