"""Runs beside runs: what is known comes first, samples are shuffled once, and an interrupt leaves what is known."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import saddlepoint
from saddlepoint.cli import main
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import Comparison
from saddlepoint.evaluation.measurements import shuffled
from saddlepoint.run import compare as compare_of_runs
from saddlepoint.run.compare import compare_runs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("one", "two")):
        small = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
        run = saddlepoint.train(
            "gan", data="digits", steps=5, seed=seed, options=small, threads=1, out=folder / name, progress=False
        )
        run.evaluate(["kd", "prdc"], threads=1).to_jsonl(run.path / "report" / "metrics.jsonl")
    return [folder / "one", folder / "two"]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffled, "DEALS", 19)
    shutil.rmtree(cache_dir() / "comparisons", ignore_errors=True)


def _judged(found: Comparison) -> dict[str, float | None]:
    return {line.metric.name: line.differences[0].p for line in found}


def test_what_is_known_comes_first_and_what_was_shuffled_is_kept(
    pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Comparison] = []
    found = compare_runs(pair, known=first.append)
    (so_far,) = first
    assert so_far.pending
    assert not found.pending
    assert _judged(so_far)["kernel distance"] == _judged(found)["kernel distance"] is not None
    assert (_judged(so_far)["recall"], so_far[1].text()) == (None, "not judged yet")
    recall = _judged(found)["recall"]
    assert recall is not None
    assert 1 / 20 <= recall <= 1
    monkeypatch.setattr(shuffled, "p_values", lambda *words, **named: pytest.fail("it is shuffled again"))
    for runs in (pair, pair[::-1]):
        assert _judged(compare_runs(runs, known=first.append)) == _judged(found)
    assert len(first) == 1
    assert _judged(compare_runs(pair, shuffle=False)) == _judged(found)
    for kept in (cache_dir() / "comparisons").iterdir():
        kept.write_text('{"recall": 7}')
    assert compare_runs(pair, shuffle=False).pending  # what is damaged counts as not there


def test_an_interrupt_leaves_what_is_known(
    pair: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*words: object, **named: object) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(shuffled, "p_values", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare_runs(pair)
    assert compare_runs(pair, partial=True).pending
    monkeypatch.setattr(sys, "argv", ["saddle", "compare", *map(str, pair)])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 130
    out, err = capsys.readouterr()
    assert "kernel distance" in out
    assert "not judged yet" in out
    assert "the same command goes on" in err


def test_p_values_are_kept_where_no_folder_is_yet_and_lost_without_a_word_where_none_can_be(tmp_path: Path) -> None:
    compare_of_runs._keep(tmp_path / "new" / "deep" / "p.json", {"distance": 0.25})
    assert json.loads((tmp_path / "new" / "deep" / "p.json").read_text()) == {"distance": 0.25}
    (tmp_path / "file").touch()
    compare_of_runs._keep(tmp_path / "file" / "p.json", {"distance": 0.25})
