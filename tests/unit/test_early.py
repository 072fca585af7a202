"""Samples that cannot be worth anything yet are said to be so: in the line of progress, at the end, in the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from saddlepoint.cli.display import Display
from saddlepoint.cli.main import app
from saddlepoint.engine.plan import early_stage, unfinished
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Metric, Report, Result, Row
from saddlepoint.evaluation.report.page import save_report
from saddlepoint.family import Phase, Progress, Stage
from saddlepoint.run import api
from saddlepoint.run.measure import caution
from saddlepoint.run.run import Run
from tests.unit.data_helpers import pictures as drawn
from tests.unit.data_helpers import write_folder

CYCLE = (Phase("generator", ("generator",), "generator"),)
STAGES = (Stage("embedding", CYCLE, 3000), Stage("supervised", CYCLE, 200), Stage("joint", CYCLE))
SMALL = {"width": 4, "discriminator_width": 4, "batch_size": 4, "blocks": 1, "colours_steps": 3, "skip": "colours"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (0, "stage 1 of 3, embedding, step 1 of 3,000"),
        (3000, "stage 1 of 3, embedding, step 3,000 of 3,000"),
        (3001, "stage 2 of 3, supervised, step 1 of 200"),
        (3200, "stage 2 of 3, supervised, step 200 of 200"),
        (3201, ""),
    ],
)
def test_the_stage_is_that_of_the_last_step(step: int, said: str) -> None:
    assert early_stage(STAGES, step) == said
    assert unfinished(STAGES, step).startswith(f"training is in {said}: " if said else "")
    assert early_stage(STAGES[2:], step) == "", "one stage is no early one"


def test_the_line_of_progress_names_a_stage_before_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for step, there in ((40, True), (4000, False)):
        display = Display(Settings(seconds=60.0))
        display.pace.stages = tuple(STAGES)
        display.tick(Progress(step, 16 * step), 1.0, dict)
        assert ("stage 1 of 3, embedding, step 40 of 3,000" in capsys.readouterr().err) is there


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a translator that was trained in its first stage only."""
    root = tmp_path_factory.mktemp("early")
    data = write_folder(root / "data", list(drawn(120, 16, 3)), ["cat", "dog"] * 60)
    return api.train("stargan", str(data), options=SMALL, steps=2, threads=1, out=root / "run")


def test_a_run_that_ended_early_says_so_wherever_its_samples_are(early: Run, tmp_path: Path) -> None:
    said = "training is in stage 1 of 2, colours, step 2 of 3: samples are worth nothing before the last stage has "
    said += "begun"
    assert caution(early) == said
    report = early.evaluate(["prdc"], threads=1)
    assert report.limits[0] == f"{said[:1].upper()}{said[1:]}."
    folder = str(RunFolder(early.path).path.parent / "data" / "cat")
    found = CliRunner().invoke(
        app, ["translate", str(early.path), folder, "--to", "dog", "--out", str(tmp_path / "made"), "--threads", "1"]
    )
    assert found.exit_code == 0
    assert found.output.count(f"note: {said}") == 1


def test_training_that_ends_early_says_how_it_goes_on(early: Run) -> None:
    found = CliRunner().invoke(app, ["train", "--resume", str(early.path), "--steps", "3", "--no-report"])
    assert "training is in stage 1 of 2, colours, step 3 of 3" in found.output
    assert f"saddle train --resume {early.path} --budget +10m" in found.output


def test_a_report_that_calls_samples_far_is_remembered(early: Run, tmp_path: Path) -> None:
    run = api.resume(early.path, steps=4)
    assert run.step == 4
    assert caution(run) == "", "the last stage has begun, and nothing is measured"
    for value, far in ((0.6, True), (0.0, False)):
        low = Row("JSD", "generator", value, interval=(value - 0.01, value + 0.01))
        result = Result(
            "jsd180_pixels_test", summary="", verdict="", metrics=(Metric("JSD", "lower"),), rows=(low,), data="d",
            fingerprint="ab", seed=0, version=1, seconds=1.0,
        )  # fmt: skip
        save_report(RunFolder(run.path).report, Report((result,), "generator", ""))
        assert ("far from the data" in caution(run)) is far
