"""A reading plan says what is done, why, and how else; a question puts the readings side by side and can be pasted."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from pathlib import Path

import numpy as np
import pytest

import saddlepoint
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.options import OPTION_FIELDS, Options, Preparation, preparation_of
from saddlepoint.data.plan import Finding, OpenQuestion, Reading, as_findings, findings_from_json, findings_to_json
from tests.unit.data_helpers import own_cache, pictures, write_folder  # noqa: F401


def test_the_keyword_arguments_are_the_fields_of_the_options() -> None:
    assert set(typing.get_type_hints(Preparation)) == {field.name for field in OPTION_FIELDS}


def test_no_family_has_an_option_of_a_name_that_data_has() -> None:
    import saddlepoint.families  # noqa: F401 - registers them
    from saddlepoint.family import families

    data = {field.name for field in OPTION_FIELDS}
    clashes = {
        (name, field.name)
        for name, kind in families().items()
        for field in dataclasses.fields(kind.Config)
        if field.name in data
    }
    assert clashes == set()


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ({"size": "64"}, "size", (64, 64)),
        ({"size": "64x96"}, "size", (64, 96)),
        ({"size": " 64 X 96 "}, "size", (64, 96)),
        ({"size": [32, 48]}, "size", (32, 48)),
        ({"columns": "a, b"}, "columns", ("a", "b")),
        ({"time_column": "day"}, "time_column", ("day",)),
        ({"missing": "-200,-999"}, "missing", ("-200", "-999")),
        ({"levels": "0,4095"}, "levels", (0.0, 4095.0)),
        ({"keep": "low <= high, open <= high"}, "keep", ("low <= high", "open <= high")),
    ],
)
def test_words_of_the_command_line_are_read(words: dict[str, typing.Any], field: str, value: object) -> None:
    assert getattr(Options.of(**words), field) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": "64x"}, "WIDTHxHEIGHT"),
        ({"size": "3"}, "4 to 1024"),
        ({"size": "64x2000"}, "64x2000"),
        ({"channels": 2}, "1 (grey), 3 (colour) or 4"),
        ({"levels": "5,1"}, "the smaller"),
        ({"levels": "a,b"}, "two numbers"),
        ({"depth": 12}, "8 or 16"),
        ({"fit": "corp"}, "did you mean 'crop'?"),
        ({"modality": "pictures"}, "image"),
        ({"columns": "a,a"}, "named once"),
        ({"colums": "a"}, "did you mean 'columns'?"),
    ],
)
def test_values_that_break_a_rule_are_refused_with_the_rule(words: dict[str, typing.Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Options.of(**words)
    assert message in str(caught.value)


def test_what_was_asked_for_comes_back_from_the_kept_configuration() -> None:
    asked = Options.of(size="64x96", missing="-200", header=False, levels="0,4095", columns="a,b", dedupe=True)
    assert Options.of(**preparation_of({"options": asked.explicit(), "modality": "image"})) == asked
    # as version 0.1 kept them: among the rest, with the modality that was found
    old = {"size": 32, "channels": None, "fit": "pad", "columns": ["a"], "window": 12, "modality": "sequence"}
    # then oblong images were padded with black
    kept = {"size": 32, "fit": "pad", "background": "black", "columns": ("a",), "window": 12}
    assert preparation_of(old) == kept


def test_findings_survive_json_and_say_their_option_only_where_another_reading_is_possible() -> None:
    certain = Finding("time", "'t' is the time", "it holds dates", "--time-column NAME")
    likely = dataclasses.replace(certain, sure=False)
    assert certain.sentence() == "'t' is the time (it holds dates)"
    assert likely.sentence() == "'t' is the time (it holds dates; else --time-column NAME)"
    kept = as_findings([certain, likely, "a bare sentence"])
    assert findings_from_json(findings_to_json(kept)) == kept


def test_each_reading_of_a_question_ends_in_a_command_that_chooses_it() -> None:
    readings = [Reading("day first", {"dates": "day-first"}), Reading("no names", {"header": False}, ["1 2 3"])]
    question = OpenQuestion("which?", readings)
    command = ["saddle", "train", "timegan", "--data", "my table.csv", "--dates", "month-first", "--header"]
    lines = question.text(command).splitlines()
    first = next(line for line in lines if "day-first" in line)
    assert shlex.split(first) == [*command[:5], "--header", "--dates", "day-first"]
    second = next(line for line in lines if "--no-header" in line)
    assert shlex.split(second) == [*command[:7], "--no-header"]
    assert "1 2 3" in question.text()
    assert "--dates day-first" in str(question)


def test_a_question_on_the_command_line_can_be_answered_by_pasting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from saddlepoint.cli import main

    def ask(*_: object, **__: object) -> None:
        raise OpenQuestion("which?", [Reading("one", {"group_column": "a b"})])

    monkeypatch.setattr("saddlepoint.run.api.inspect", ask)
    monkeypatch.setattr("sys.argv", ["saddle", "data", "inspect", "x y.csv"])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    told = told.removeprefix("starting ...\n")  # said after two seconds on a busy machine
    assert told.startswith("error: which?\n")
    assert "saddle data inspect 'x y.csv' --group-column 'a b'" in told


def test_options_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", pictures(6, 8))
    (tmp_path / "x.csv").write_text("t,v\n" + "".join(f"{i},{i * i % 7}\n" for i in range(90)))
    for source, words, message in (
        ("pictures", {"modality": "sequence"}, "leave --modality out"),
        ("pictures", {"array": "x"}, "leave --array out"),
        ("x.csv", {"modality": "image"}, "leave --modality out"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset(str(tmp_path / source), **words)  # type: ignore[arg-type]


def test_an_array_that_the_family_reads_otherwise_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "windows.npy", np.random.default_rng(0).random((40, 24, 5), dtype=np.float32))
    said = saddlepoint.inspect(str(tmp_path / "windows.npy"), "dcgan").plan
    assert any("could hold sequences" in sentence for sentence in said)
    with pytest.raises(OpenQuestion):
        saddlepoint.inspect(str(tmp_path / "windows.npy"))


def test_a_mistyped_argument_is_compared_with_all_there_are() -> None:
    with pytest.raises(ConfigError, match="did you mean 'budget'"):
        saddlepoint.train("gan", data="digits", bugdet="3m")
    with pytest.raises(ConfigError, match="did you mean 'time_column'"):
        saddlepoint.train("gan", data="digits", time_colum="3m")
