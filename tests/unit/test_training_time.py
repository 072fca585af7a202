"""How long a run was trained is one number, wherever it is said: the time that its budget counts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli.main import app
from saddlepoint.evaluation import Metric
from saddlepoint.evaluation.report.pictures import reach
from saddlepoint.export.card import card
from saddlepoint.run.index import Shelf
from saddlepoint.run.show import facts

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> saddlepoint.Run:
    """Return a run whose last line of the log is much older than its end."""
    folder = tmp_path_factory.mktemp("time") / "run"
    trained = saddlepoint.train("gan", data="digits", budget="2s", options=OPTIONS, threads=1, out=folder)
    log = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(re.sub(r'"seconds": [\d.]+', '"seconds": 0.25', log))
    assert {line["timing"]["seconds"] for line in trained.log if "timing" in line} == {0.25}
    return saddlepoint.load(folder)


def test_every_place_says_the_time_that_the_budget_counts(run: saddlepoint.Run) -> None:
    assert run.seconds is not None
    assert 2.0 <= run.seconds < 60.0
    entry = Shelf(run.path.parent).entry(run.path.name)
    assert run.seconds == pytest.approx(entry.seconds)
    whole = f"{run.seconds:,.0f} s"
    training = run._training()
    assert training.facts is not None
    assert training.facts["trained"].endswith(f", {whole} of training")
    assert f", {whole}" in facts(run)["trained"]
    assert f"| training time | {whole} |" in card(run)


def test_the_terminal_says_the_same(tmp_path: Path) -> None:
    words = ["train", "gan", "--data", "digits", "--budget", "2s", "--threads", "1", "--out", str(tmp_path / "r")]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert f"in {saddlepoint.load(tmp_path / 'r').seconds:,.0f} s" in said


def test_without_a_checkpoint_no_time_is_made_up(run: saddlepoint.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.path, tmp_path / "run")
    moved = saddlepoint.load(folder)
    shutil.rmtree(folder / "checkpoints")
    assert moved.seconds is None


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (-0.0002, 3, "0.000"),
        (-0.0, 2, "0.00"),
        (-0.0006, 3, "-0.001"),
        (-1690.6, 3, "-1,691"),
        (float("nan"), 2, "nan"),
    ],
)
def test_what_is_rounded_to_nothing_has_no_sign(value: float, digits: int, shown: str) -> None:
    assert Metric("distance", "lower", digits=digits).show(value) == shown


def test_distances_have_as_many_digits_at_both_ends() -> None:
    assert reach([10.05, 10.0, 10.02]) == "distances 10.0 to 10.1"
    assert reach([1234.4, 1234.4]) == "distance 1,234"
