"""The studio's page of sweeps, and the reading of a summary that may come from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saddlepoint.core.errors import CheckpointError
from saddlepoint.evaluation import Metric, Result, Row
from saddlepoint.figures import trials
from saddlepoint.run.sweeps import winner
from saddlepoint.run.sweeps.summary import read_summary, sweeps_in

KEPT: dict[str, Any] = {
    "family": "gan", "data": "digits", "over": ["lr=0.001..1:log", "objective=minimax,hinge"], "measure": "distance",
    "trials": [
        {"number": 0, "state": "complete", "values": {"lr": 0.1, "objective": "minimax"}, "figure": 2.0},
        {"number": 1, "state": "pruned", "values": {"lr": 0.9, "objective": "hinge"}, "figure": None},
        {"number": 2, "state": "complete", "values": {"lr": 0.02, "objective": "hinge"}, "figure": 0.75},
    ],
    "best": {"number": 2},
    "winner": {"figures": [{"protocol": "fd60", "metric": "Fréchet distance", "value": 0.5, "interval": [0.25, 0.75]}]},
}  # fmt: skip


def kept(root: Path, **changes: Any) -> Path:
    folder = root / "sweeps" / "gan-digits-1234"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({**KEPT, **changes}))
    return folder


def test_a_summary_is_read_and_drawn(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    assert sweeps_in(tmp_path / "sweeps") == [folder]
    found = read_summary(folder)
    assert found.title == "gan on digits"
    assert found.names == ["lr", "objective"]
    assert found.best == 2
    assert found.winner == (("fd60", "Fréchet distance", 0.5, "0.25 to 0.75"),)
    picture = found.picture()
    assert picture.width > 2 * picture.height
    assert read_summary(kept(tmp_path, best=None, winner=None)).winner == ()
    # Two workers began one at once, which was never trained: numbers are no places.
    last = {**KEPT["trials"][2], "number": 4}
    found = read_summary(kept(tmp_path, trials=[*KEPT["trials"][:2], last], best={"number": 4}))
    assert (found.best, found.trials[2].number) == (4, 4)
    assert sweeps_in(tmp_path / "nowhere") == []


def test_figures_of_a_winner_are_means_over_its_seeds_beside_the_floor_of_each() -> None:
    near, far = Metric("distance", "lower"), Metric("range", "higher")
    p_value = Metric("distance, p-value", "neither")

    def result(values: tuple[float, float]) -> Result:
        rows = [Row(metric.name, "generator (EMA)", value) for metric, value in zip((near, far), values, strict=True)]
        rows += [Row(metric.name, "held-out images", k, role="control") for k, metric in enumerate((near, far), 1)]
        rows += [Row(metric.name, "training images", 9.0, role="control") for metric in (near, far)]
        rows.append(Row(p_value.name, "generator (EMA)", 0.5))
        return Result("fd10k_pixels_test", "", (near, far, p_value), tuple(rows), "", "blobs", "ab", 0)

    one, other = winner._figures([[result((3.0, 7.0))], [result((5.0, 8.0))]])
    assert (one.metric, one.better, one.value, one.values, one.floor) == ("distance", "lower", 4.0, (3.0, 5.0), 1.0)
    assert (other.metric, other.better, other.value, other.values, other.floor) == (
        "range", "higher", 7.5, (7.0, 8.0), 2.0,
    )  # fmt: skip
    assert one.interval is not None
    assert one.interval[0] < 4.0 < one.interval[1]
    (alone, _) = winner._figures([[result((3.0, 7.0))]])
    assert (alone.value, alone.interval) == (3.0, None)
    assert winner._figures([]) == []


def test_an_interval_ends_where_the_figure_must() -> None:
    """Student's interval of two shares near 1 is cut at 1, that of a distance at 0, and one of equal shares is none."""
    share, distance = Metric("share", "higher", least=0, most=1), Metric("distance", "lower", least=0)
    free = Metric("kernel distance", "lower")

    def result(values: tuple[float, ...]) -> Result:
        metrics = (share, distance, free)
        rows = tuple(Row(m.name, "generator (EMA)", value) for m, value in zip(metrics, values, strict=True))
        return Result("fd10k_pixels_test", "", metrics, rows, "", "blobs", "ab", 0)

    one, two, three = winner._figures([[result((0.90, 1.0, 1.0))], [result((0.98, 2.0, 2.0))]])
    half = 12.706204736432095  # Student's quantile, one degree of freedom
    assert one.interval == (pytest.approx(0.94 - half * 0.04), 1.0)
    assert two.interval == (0.0, pytest.approx(1.5 + half * 0.5))
    assert three.interval == (pytest.approx(1.5 - half * 0.5), pytest.approx(1.5 + half * 0.5))
    alike = winner._figures([[result((1.0, 0.0, 0.5))], [result((1.0, 0.0, 0.5))]])
    assert [(figure.value, figure.interval) for figure in alike] == [(1.0, None), (0.0, None), (0.5, None)]


def test_trials_at_work_are_no_crosses(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[tuple[int, str]]()
    kept_mark = trials._mark

    def mark(panel: Any, value: Any, trial: trials.Point, above: float, best: bool) -> None:
        drawn.append((trial.number, trial.state))
        assert best is (trial.number == 3)
        kept_mark(panel, value, trial, above, best)

    monkeypatch.setattr(trials, "_mark", mark)
    states = {0: "complete", 1: "running", 2: "pruned", 3: "complete"}
    points = [trials.Point(n, {"lr": 0.1}, 1.0 / (1 + n) if s == "complete" else None, s) for n, s in states.items()]
    trials.draw_trials(points, ["lr=0.01..1:log"], "distance", 3)
    assert drawn == [(0, "complete"), (2, "pruned"), (3, "complete")] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": [{"number": 0, "state": "complete", "values": {"lr": [1]}, "figure": 1.0}]},
        {"trials": [{"number": 0, "state": "complete", "values": {}, "figure": "much"}]},
        {"trials": 3},
        {"over": [1]},
        {"family": None},
        {"best": {"number": "x"}},
        {"winner": {"figures": [{"protocol": "a"}]}},
    ],
)
def test_a_damaged_summary_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_summary(kept(tmp_path, **changes))


def test_the_page_shows_them(tmp_path: Path) -> None:
    pytest.importorskip("nicegui")
    from starlette.testclient import TestClient

    from saddlepoint.serve.studio.app import make_app

    with TestClient(make_app(tmp_path / "runs"), base_url="http://localhost") as client:
        assert "There is no sweep in" in client.get("/sweeps").text
        folder = kept(tmp_path)
        page = client.get("/sweeps").text
        for word in (folder.name, "0.75", "0.25 to 0.75", "2 of 3 trials are complete", "data:image/png"):
            assert word in page, word
        kept(tmp_path, trials=[*KEPT["trials"], {"number": 3, "state": "running", "values": {}, "figure": None}])
        assert "2 of 4 trials are complete; 1 is at work, or" in client.get("/sweeps").text
        (folder / "summary.json").write_text("{")
        assert "cannot be read" in client.get("/sweeps").text
        assert client.get("/").status_code == 200
