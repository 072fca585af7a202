"""What the command says to words that are not quite right: the rule, and the way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import CheckpointError, ConfigError, DataError, enumerated, suggest
from saddlepoint.data import load_dataset
from saddlepoint.data.labels.files import class_index
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.run import api
from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.unit.data_helpers import own_cache, pictures, write_folder  # noqa: F401


def refused(saddle: Command, *words: str) -> str:  # noqa: F811
    code, _, err = saddle(*words)
    assert code == 2, err
    line = next(line for line in err.splitlines() if line.startswith("error: "))
    assert "Traceback" not in err
    return line.removeprefix("error: ")


def table(path: Path) -> str:
    values = np.random.default_rng(0).normal(size=(200, 2)).round(2)
    frame = pd.DataFrame(values, columns=["a", "b"])
    frame.loc[:150, "b"] = np.nan
    frame.insert(0, "day", pd.date_range("2020-01-01", periods=200).strftime("%Y-%m-%d"))
    frame.to_csv(path, index=False)
    return str(path)


def test_a_table_for_a_family_of_pictures_is_told_the_family_first(tmp_path: Path, saddle: Command) -> None:  # noqa: F811
    path = table(tmp_path / "t.csv")  # with a fault of its own, which would be told otherwise
    for words in (("train", "dcgan", "--data", path), ("data", "inspect", path, "--family", "dcgan")):
        said = refused(saddle, *words)
        assert said == (
            f"'{path}' is a table, but 'dcgan' trains on pictures, not on tables of series; 'timegan' trains on tables "
            "of series"
        )
    assert "'dcgan' trains on pictures" in refused(saddle, "train", "dcgan", "--data", path, "--columns", "nothing")
    with pytest.raises(ConfigError, match="the data is a table, but 'dcgan' trains on pictures"):
        api.resolve(api.plan("dcgan", pd.read_csv(path)))
    with pytest.raises(DataError, match="'b' are missing"):
        api.resolve(api.plan("timegan", path))


def test_pictures_for_a_family_of_tables_are_told_the_families_first(tmp_path: Path, saddle: Command) -> None:  # noqa: F811
    folder = str(write_folder(tmp_path / "photos", list(pictures(20))))
    said = refused(saddle, "train", "timegan", "--data", folder, "--window", "12")
    assert said.startswith(f"'{folder}' is a folder of pictures, but 'timegan' trains on tables of series, not on pic")
    assert said.endswith(" and 'stylegan' train on pictures") or said.count(" and ") == 1
    assert "'dcgan'" in said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3min", 180), ("90sec", 90), ("1hour", 3600), ("3 minutes", 180), ("2hrs", 7200), ("1h30m", 5400),
        ("1 h 30 min", 5400), ("8 min 20 s", 500), ("1.5H", 5400), (" 3m ", 180), (90, 90), (1.5, 1.5), ("2d", 172800),
    ],
)  # fmt: skip
def test_times_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    assert api.parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["3x", "min", "0s", "-3m", "3mm", "3m4", "m3", "3 months", "1e3s", "", "nan", "inf"])
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="positive time such as 90s"):
        api.parse_budget(text)


def test_a_time_without_a_unit_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match="write 3s for seconds, 3m for minutes"):
        api.parse_budget("3")


def test_names_are_suggested_as_they_are_written(saddle: Command) -> None:  # noqa: F811
    said = refused(saddle, "train", "dcgam")
    assert said == "unknown family 'dcgam'; did you mean 'dcgan'? One of your own needs --import FILE.py"
    assert refused(saddle, "train", "zzz").endswith("timegan, vae. One of your own needs --import FILE.py")
    assert refused(saddle, "train", "--bugdet", "3m") == "unknown option '--bugdet'; did you mean '--budget'?"
    assert refused(saddle, "train", "--learning-rate", "3") == "unknown option '--learning-rate'; did you mean '--lr'?"
    assert enumerated(["a", "b", "c"]) == "a, b and c"


def test_options_of_other_commands_are_named_with_these(saddle: Command) -> None:  # noqa: F811
    said = refused(saddle, "sample", "runs/x", "--keep", "a <= b")
    assert said == (
        "there is no option '--keep' of `saddle sample`; `saddle train`, `saddle evaluate`, `saddle sweep` and "
        "`saddle drag` have it"
    )
    said = refused(saddle, "sample", "runs/x", "--treads", "2")
    assert said == "there is no option '--treads' of `saddle sample`; did you mean '--threads'?"
    said = refused(saddle, "families", "--zzzzzz")
    assert said == "there is no option '--zzzzzz' of `saddle families`; `saddle families --help` lists them"


@pytest.mark.parametrize(
    "words",
    [("sample", "x", "--picture", "film"), ("export", "x", "--format", "pdf"), ("serve", "x", "--backend", "tf")],
)
def test_no_word_of_the_libraries_below_reaches_the_user(saddle: Command, words: tuple[str, ...]) -> None:  # noqa: F811
    said = refused(saddle, *words)
    assert said.startswith(f"Invalid value for '{words[2]}'")
    assert f": '{words[3]}' is not one of" in said
    assert "Value error" not in said


def test_labels_are_suggested_in_other_letters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'LGA'"):
        class_index("lga", ("EWR", "JFK", "LGA"))
    assert suggest("Budget", ["budget", "lr"]) == "did you mean 'budget'?"


def test_a_path_may_end_in_the_beginning_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my flags", "gan-1", "gan-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert find_run("runs/my") == Path("runs/my flags")
    assert find_run(tmp_path / "runs" / "my") == tmp_path / "runs" / "my flags"
    with pytest.raises(CheckpointError, match="2 runs in 'runs' begin with 'gan'"):
        find_run("runs/gan")
    with pytest.raises(CheckpointError, match="no run in 'runs' begins so"):
        find_run("runs/zzz")
    with pytest.raises(CheckpointError, match="'elsewhere/my' is not a run folder"):
        find_run("elsewhere/my")


def test_a_path_that_is_not_there_is_suggested_without_detours(tmp_path: Path) -> None:
    write_folder(tmp_path / "skin" / "light", list(pictures(6)))
    with pytest.raises(DataError) as caught:
        load_dataset(f"{tmp_path}/skin/light/../lihgt")
    assert str(caught.value).endswith(f"did you mean '{tmp_path}/skin/light'?")


def test_one_broken_picture_stops_no_small_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "flags", list(pictures(17)))
    (folder / "broken.png").write_bytes(b"no picture")
    data = load_dataset(str(folder))
    assert sum(len(split) for split in data.splits.values()) == 17
    assert any("broken.png" in note for note in data.notes)
    (folder / "broken2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 of 19 images cannot be used .*one, or up to 5%, are skipped"):
        load_dataset(str(folder))


def test_a_run_whose_data_was_moved_is_exported(tmp_path: Path, saddle: Command) -> None:  # noqa: F811
    folder = write_folder(tmp_path / "photos", list(pictures(30, size=28)))
    code, _, err = saddle(
        "train", "gan", "--data", str(folder), "--steps", "2", "--out", "run", "--no-report", "--threads", "1",
        "--batch-size", "8",
    )  # fmt: skip
    assert code == 0, err
    shutil.move(str(folder), str(tmp_path / "moved"))
    code, _, err = saddle("export", "run", "--threads", "1", "--out", "one")
    assert code == 0, err
    assert "--data NEW" in err
    code, _, err = saddle("export", "run", "--data", str(tmp_path / "moved"), "--threads", "1", "--out", "two")
    assert code == 0, err
    assert "--data NEW" not in err
    code, _, err = saddle("compare", "--help")
    assert code == 0
