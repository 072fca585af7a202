"""The ladder finds the first time at which a target holds, goes on where it was, and says what was missed."""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saddlepoint.data import load_dataset
from saddlepoint.evaluation import Subject, evaluate
from tests.unit.scripts import scripts_of

ROOT = Path(__file__).parents[2]
NAMES = ("ladder_pace", "ladder_foreign", "ladder_targets", "ladder_peers", "ladder_tables", "ladder")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the modules of the ladder by name."""
    return scripts_of(NAMES, monkeypatch)


@dataclass
class Clock:
    """A training that does nothing; its figures are functions of its seconds."""

    ladder: Any
    seconds: float = 0.0
    stop_at: float = math.inf
    spent: tuple[float, ...] = ()

    def train(self, until: float) -> Any:
        if until > self.stop_at:
            sys.exit("interrupted")
        self.seconds, self.spent = until, (*self.spent, until)
        return self.ladder.Standing(until, round(100 * until))

    def subject(self) -> tuple[Any, Any]:
        return self, None


def planted(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, cheap: Any, full: Any) -> Any:
    """Return a row whose figure of few samples, and of all, are these functions of seconds; lower is better."""
    ladder, targets = scripts["ladder"], scripts["ladder_targets"]
    measure = replace(
        targets.MEASURES["fd"], cap=100.0, targets=tuple(targets.Target(f"at-{n}", "", "FD", n) for n in (10, 2))
    )

    class Planted(targets.Measure):
        def figures(self, bench: Any, reached: Any) -> dict[str, Any]:
            found = {"cheap": {"FD": cheap(bench.seconds)}}
            left = [target for target in self.targets if target.name not in reached]
            if any(target.holds(found["cheap"], False, cheap=True) for target in left):
                found["full"] = {"FD": full(bench.seconds)}
            return found

    monkeypatch.setitem(ladder.MEASURES, "fd", Planted(**vars(measure)))
    monkeypatch.setattr(ladder, "bench_of", lambda subject, dataset: subject)
    return ladder.Row("dcgan", ("fd",), 1, 0)


def test_times_grow_by_a_quarter_and_end_with_the_cap(scripts: dict[str, Any]) -> None:
    targets = scripts["ladder_targets"]
    for measure in targets.MEASURES.values():
        found = list(targets.times((measure,)))
        assert measure.first <= found[0] < 1.26 * measure.first
        assert found[-1] == measure.cap
        assert all(1 < b / a < 1.28 for a, b in itertools.pairwise(found) if b != measure.cap)


def test_the_first_time_at_which_all_samples_reach_it_counts(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ladder = scripts["ladder"]
    # 10 after 20 s by few samples, after 30 s by all; 2 never.
    row = planted(scripts, monkeypatch, lambda t: 200 / t, lambda t: 300 / t)
    kept: dict[str, Any] = {}
    ladder.climb(row, Clock(ladder), kept, tmp_path / "row.json")
    first = min(t for t in scripts["ladder_targets"].times(row.measures) if t >= 30)
    assert kept["reached"] == {"at-10": first}
    written = json.loads((tmp_path / "row.json").read_text())
    assert written["finished"]
    assert written["curve"][-1]["seconds"] == 100.0
    measure = row.measures[0]
    # At the cap all samples were measured, 300 / 100; the time before has the best figure, of few samples.
    measure, before = row.measures[0], written["curve"][-2]["until"]
    assert scripts["ladder_targets"].best(measure, measure.targets[1], written["curve"]) == 200 / before


def test_an_interrupted_row_goes_on_and_ends_the_same(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ladder = scripts["ladder"]
    row = planted(scripts, monkeypatch, lambda t: 150 / t, lambda t: 150 / t)
    whole: dict[str, Any] = {}
    ladder.climb(row, Clock(ladder), whole, tmp_path / "whole.json")
    part, path = Clock(ladder, stop_at=25.0), tmp_path / "part.json"
    with pytest.raises(SystemExit):
        ladder.climb(row, part, {}, path)
    again = Clock(ladder)
    ladder.climb(row, again, json.loads(path.read_text()), path)
    assert json.loads(path.read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert (*part.spent, *again.spent) == tuple(point["until"] for point in whole["curve"])
    assert whole["reached"].keys() == {"at-10", "at-2"}
    assert whole["curve"][-1]["until"] == whole["reached"]["at-2"]  # nothing is trained after the last target


def test_figures_are_those_of_a_report(scripts: dict[str, Any]) -> None:
    targets, dataset = scripts["ladder_targets"], load_dataset("ring8")
    rows = torch.from_numpy(np.array(dataset.splits["train"].x))
    subject = Subject("training rows", lambda n, seed: rows[:n] + 0.05 * seed)
    found = targets.MEASURES["ring8"].figures(targets.bench_of(subject, dataset), ())
    report = evaluate(subject, dataset, ["modes"], seed=targets.SEED)
    assert found["protocol"] == report.results[0].protocol
    assert found["full"] == {row.metric: row.value for row in report.results[0].rows if row.role == "model"}
    assert all(target.holds(found["full"], True) for target in targets.MEASURES["ring8"].targets)


def kept(reached: dict[str, float], best: float, **more: Any) -> dict[str, Any]:
    """Return what is kept of a row of FD on MNIST that saw 1,000 images a second for 2,000 s."""
    found = {"cheap": {"Fréchet distance, bias removed": best}}
    figures = {"fd": found, "fd-3": found}
    curve = [{"until": t, "seconds": t, "nimg": 1000 * t, "figures": figures} for t in (100, 200, 400, 2000)]
    return {"curve": curve, "reached": reached, "finished": True, **more}


def test_tables_show_the_median_of_the_best_system_and_what_was_missed(scripts: dict[str, Any]) -> None:
    ladder, tables = scripts["ladder"], scripts["ladder_tables"]
    rows = [
        (ladder.Row("dcgan", ("fd",), 1, seed), kept({"mnist-fd-10": at}, 5.0)) for seed, at in enumerate((400, 100))
    ]
    rows += [(ladder.Row("dcgan", ("fd",), 1, 2), kept({"mnist-fd-10": 200}, 4.0))]
    rows += [(ladder.Row("stylegan", ("fd", "fd-3"), 1, 0), kept({"mnist-fd-10": 400, "mnist-fd-3": 2000}, 2.5))]
    rows += [(ladder.Row("dcgan-example", ("parzen", "fd"), 1, 0), kept({}, 31.25))]
    rows += [(ladder.Row("r3gan-official", ("parzen", "fd"), 1, 0), kept({}, 300.0, finished=False))]
    lines = tables.steps(rows, {"dcgan": "dcgan small", "stylegan": "stylegan tiny-32"}, both=True)
    cells = {line.split(" | ")[0]: [cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]}
    missed = f"not in {scripts['ladder_targets'].MEASURES['fd'].cap:,.0f} s: best 31.25"
    assert cells["| MNIST: FD 10"][1:] == ["`dcgan small` **200 s** (100 to 400)", "", "", "", missed]
    assert cells["| MNIST: FD 3"][1] == "`stylegan tiny-32` **2,000 s**"
    assert tables.result(rows[0][0].measures[0], rows[0][0].measures[0].targets[0], rows[:3]).images == (
        400_000, 100_000, 200_000,
    )  # fmt: skip


def test_a_seed_that_missed_counts_as_later_than_any(scripts: dict[str, Any]) -> None:
    ladder, tables = scripts["ladder"], scripts["ladder_tables"]
    found = [
        (ladder.Row("dcgan", ("fd",), 1, 0), kept({"mnist-fd-10": at} if at else {}, 12.0)) for at in (100, 0, 200)
    ]
    (measure,) = found[0][0].measures
    assert tables.result(measure, measure.targets[0], found).shown() == "**200 s** (100 to missed)"
    assert tables.result(measure, measure.targets[0], found[:2]).shown() == f"not in {measure.cap:,.0f} s: best 12"


def test_a_pace_is_the_median_of_its_measurements(scripts: dict[str, Any], tmp_path: Path) -> None:
    paces = scripts["ladder_pace"]
    for times, rate in enumerate((100, 400, 300), start=1):
        # Two seconds at the start see nothing.
        for again in range(2):  # the second call finds it measured so many times
            wanted = 1e9 if again else rate
            paces.measure_pace(
                "it", tmp_path, 1, lambda until, wanted=wanted: (until, round((until - 2) * wanted)), times
            )
    found = paces.pace_of("it", tmp_path)
    assert (found.rate, found.start) == (pytest.approx(300), pytest.approx(2))
    assert [found.images(seconds) for seconds in (2.0, 12.0)] == [1, 3000]
    assert found.seconds(3000) == pytest.approx(12)
    with pytest.raises(SystemExit, match="the pace of other is not measured"):
        paces.pace_of("other", tmp_path)


def test_systems_of_ours_stop_at_the_images_of_their_pace(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ladder, paces = scripts["ladder"], scripts["ladder_pace"]
    monkeypatch.setattr(ladder, "FIGURES", tmp_path)
    row = ladder.Row("points", ("ring8",), torch.get_num_threads(), 0)
    paces.keep(tmp_path / f"pace-{row.paced}.json", {"rate": 1000.0, "start": 0.5, "measured": []}, 1)
    own = ladder.Own(row, tmp_path / "run")
    for until, images in ((1.0, 512), (2.0, 1536)):  # whole minibatches of 128
        standing = own.train(until)
        assert (standing.nimg, standing.seconds) == (images, 0.5 + images / 1000)


@pytest.mark.parametrize(("shape", "channels"), [((30, 1, 28, 28), 1), ((30, 1, 28, 28), 3), ((30, 3, 32, 32), 3)])
def test_a_peer_sees_every_image_once_an_epoch(scripts: dict[str, Any], shape: Any, channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = scripts["ladder_foreign"].Images(x, channels, 3)
    drawn = torch.cat([images.batch(10) for _ in range(3)])
    assert drawn.shape == (30, channels, 32, 32)
    back = ((images.restored(drawn) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert sorted(row.tobytes() for row in back) == sorted(row.tobytes() for row in x)
    again = scripts["ladder_foreign"].Images(x, channels, 3)
    again.position = 20
    assert torch.equal(again.batch(10), drawn[20:])
    assert not torch.equal(images.batch(30), drawn)  # the next epoch has another order


SCRIPT = """
import torchvision.datasets as dset
data = dset.MNIST("nowhere")
weight = 1
criterion = 10
for epoch in range(2):
    for i, data in enumerate(data, 0):
        weight = weight + criterion * data[0]
        print(undefined)
        if i % 100 == 0:
            undefined()
    undefined()
"""


def test_a_script_is_run_in_parts_without_its_reports(scripts: dict[str, Any], tmp_path: Path) -> None:
    foreign, path, scope = scripts["ladder_foreign"], tmp_path / "main.py", dict[str, Any]()
    path.write_text(SCRIPT)
    first, second, step = foreign.parts_of(path)
    with foreign.without_torchvision(torch.zeros(4, 1, 28, 28)):
        exec(first, scope)  # noqa: S102
    assert len(scope["data"]) == 4
    assert "criterion" not in scope
    exec(second, scope)  # noqa: S102
    for value in (1, 2):
        scope["data"] = [value]
        exec(step, scope)  # noqa: S102
    assert scope["weight"] == 31
    assert "torchvision" not in sys.modules or hasattr(sys.modules["torchvision"], "__file__")
