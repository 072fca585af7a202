"""Arguments of a kind that nothing can be made of, as a notebook may give them, are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.run.run import Run
from tests.unit.data_helpers import pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"generator_widths": "8", "discriminator_widths": "8", "batch_size": 4}
    out = tmp_path_factory.mktemp("runs") / "run"
    return saddlepoint.train("gan", "digits", steps=2, options=options, threads=1, out=out, progress=False)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"seed": "a"}, "seed is 'a', but it must be a number"),
        ({"seed": 0.5}, r"seed is 0\.5, but it must be a whole number"),
        ({"seed": True}, "seed is True, but it must be a number"),
        ({"steps": "x"}, "steps is 'x', but it must be a number"),
        ({"kimg": "1"}, "kimg is '1', but it must be a number"),
    ],
)
def test_a_training_is_asked_for_by_numbers(request_: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        saddlepoint.train("gan", pictures(20), **{"steps": 1, **request_}, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_families_and_runs_are_called_by_texts() -> None:
    with pytest.raises(ConfigError, match="a family is called by a text, such as 'gan', not by 3"):
        saddlepoint.train(3, "digits")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a run is called by its folder or its name, not by 3"):
        saddlepoint.load(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocols", "words"),
    [
        ("fdd", "unknown protocol 'fdd'"),
        ([3], "a protocol is called by a text, such as 'fd', not by 3"),
        ([], "no protocol is named; name at least one"),
    ],
)
def test_protocols_are_called_by_texts(protocols: Any, words: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=words):
        run.evaluate(protocols)


def test_one_protocol_needs_no_list(run: Run) -> None:
    whole, alone = (run.evaluate(asked, threads=1) for asked in (["prdc"], "prdc"))
    assert [one.protocol for one in alone.results] == [one.protocol for one in whole.results]
    assert len(alone.results) == 1
    assert alone.rows == whole.rows
