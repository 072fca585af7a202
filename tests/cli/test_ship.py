"""The commands that hand a run to others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import SMALL, Command, saddle

__all__ = ["saddle"]


@pytest.fixture
def run(saddle: Command) -> str:
    assert saddle("train", "--data", "digits", "--steps", "3", "--quiet", "--out", "run", *SMALL)[0] == 0
    return "run"


def test_weights_are_exported_and_sampled(saddle: Command, run: str, tmp_path: Path) -> None:
    code, out, err = saddle("export", run, "--format", "safetensors")
    assert (code, out.strip()) == (0, "run/export-safetensors")
    assert "numbers" in err
    first = saddle("sample", run, "-n", "4", "--out", "one.png")
    second = saddle("sample", "run/export-safetensors", "-n", "4", "--out", "two.png")
    assert first[0] == second[0] == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_card_lies_beside_the_weights(saddle: Command, run: str, tmp_path: Path) -> None:
    code, _, err = saddle("export", run, "-f", "hub", "--out", "repository")
    assert code == 0
    assert "saddle evaluate run" in err
    names = {path.name for path in (tmp_path / "repository").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "samples.png"}
    assert json.loads((tmp_path / "repository" / "config.json").read_text())["family"] == "gan"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "nowhere"], "not a run folder"),
        (["export", ".", "--push", "me/digits"], "--push is for --format hub, not onnx"),
        (["export", "nowhere", "--format", "onx"], "onx"),
        (["export", "nowhere", "--for", "tensorflow"], "tensorflow"),
        (["serve", "nowhere"], "not a run folder"),
        (["serve", "hf:nowhere"], "is not a hub id"),
        (["serve", "nowhere", "--batch", "0"], "--batch"),
    ],
)
def test_wrong_usage_is_told(saddle: Command, words: list[str], message: str) -> None:
    code, _, err = saddle(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "web", "--for", "openvino"], "are for format onnx, not web"),
        (["--opset", "3"], "opset is 3, but it must be from 17 to 23"),
        (["--batch", "some"], "batch is 'some', but it must be a whole number from 1 to 65,536, or dynamic"),
        (["--for", "ncnn", "--batch", "2"], "for ncnn it must be 1"),
    ],
)
def test_forms_that_cannot_be_had_are_told(saddle: Command, run: str, words: list[str], message: str) -> None:
    code, _, err = saddle("export", run, *words)
    assert code == 2
    assert message in " ".join(err.split())
    assert not list(Path(run).glob("export*"))


def test_what_computes_for_seconds_measures_its_threads(
    saddle: Command, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[object, bool]]()

    @contextmanager
    def recorded(threads: object, step: Callable[[], object], say: object, *, worth: bool = True) -> Iterator[int]:
        step()
        asked.append((threads, worth))
        yield 1

    monkeypatch.setattr("saddlepoint.engine.machine.threads.measured_threads", recorded)
    explore = ["explore", run, "--point", "1", "--point", "2"]
    for words, worth in (
        (["explore", run], True),
        ([*explore, "--frames", "2", "--out", "film.gif"], True),
        ([*explore, "--out", "place.png"], False),
        (["explore", run, "--project", "place.png", "--threads", "1"], True),
        (["export", run, "--format", "safetensors"], False),
        (["export", run, "--no-measure"], False),
        (["sample", run], False),
        (["sample", run, "-n", "1000"], True),
    ):
        code, _, err = saddle(*words)
        assert code == 0, err
        assert asked.pop() == ("1" if "--threads" in words else None, worth), words
        assert asked == []
