"""How an evaluation goes: the shortest figures first, a forecast of the time, what an interrupt leaves, JSON."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saddlepoint import evaluation as ev
from saddlepoint.core import machine_load
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation import duration, measure, protocol
from saddlepoint.evaluation.rows import STOPPED

ORDER: list[str] = []


def _planted(kind: str, seconds: float, fails: type[BaseException] | None = None) -> ev.Protocol:
    """Return a protocol that notes when it is measured."""

    def rows(samples: ev.SampleSet, task: ev.Task) -> list[ev.Row]:
        ORDER.append(kind)
        if fails:
            raise fails
        return [ev.Row(kind, samples.name, 1.0, role=samples.role)]

    return ev.Protocol(
        kind, ("vector",), f"planted {kind}", (ev.Metric(kind, "neither"),), rows, lambda rows, task: f"{kind} is 1.",
        controls=lambda bench: (), seconds=lambda task: seconds,
    )  # fmt: skip


@pytest.fixture
def data() -> Dataset:
    ORDER.clear()
    rows = Split(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    return Dataset("cloud", "vector", {"train": rows, "valid": rows, "test": rows}, (), "ab")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def only(*planted: ev.Protocol) -> None:
        monkeypatch.setattr(protocol, "_REGISTRY", {p.kind: p for p in planted})

    return only


def _sample(n: int, seed: int) -> torch.Tensor:
    return torch.zeros(n, 3)


def test_the_shortest_comes_first_and_the_report_keeps_its_order(
    data: Dataset, plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duration, "lately", lambda: 1.0)  # a machine that does nothing else
    plant(_planted("slow", 300.0), _planted("quick", 0.5), _planted("middling", 20.0))
    lines: list[str] = []
    report = ev.evaluate(_sample, data, progress=lines.append, detail=lambda line: None)
    assert ORDER == ["quick", "middling", "slow"]
    assert [result.metrics[0].name for result in report.results] == ["slow", "quick", "middling"]
    assert lines[0] == (
        "measuring 3 figures takes about 5 min, the shortest first; Ctrl-C stops with those that are there"
    )
    assert [line.split(" planted")[0] for line in lines[1:]] == ["1 of 3:", "2 of 3:", "3 of 3:"]
    ORDER.clear()
    lines.clear()
    plant(_planted("one", 0.5), _planted("other", 0.25))
    ev.evaluate(_sample, data, progress=lines.append, detail=lambda line: None)
    assert not any("takes about" in line for line in lines), "nobody waits for a second"


def test_an_interrupt_leaves_what_was_measured(data: Dataset, plant: Callable[..., None]) -> None:
    plant(_planted("last", 90.0), _planted("stops", 10.0, KeyboardInterrupt), _planted("first", 1.0))
    report = ev.evaluate(_sample, data, partial=True)
    assert [result.metrics[0].name for result in report.results] == ["first"]
    assert report.omitted == {"last": STOPPED, "stops": STOPPED}
    assert report.stopped
    assert report.left_out == [f"Not measured: last, stops: {STOPPED}."]
    with pytest.raises(KeyboardInterrupt):
        ev.evaluate(_sample, data)
    plant(_planted("stops", 1.0, KeyboardInterrupt), _planted("last", 90.0))
    with pytest.raises(KeyboardInterrupt):
        ev.evaluate(_sample, data, partial=True)


def test_the_forecast_adds_up_and_counts_what_is_kept(
    data: Dataset, plant: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "drawing", lambda bench, n: 7.0)

    def controlled(kind: str) -> ev.Protocol:
        return ev.Protocol(
            kind, ("vector",), kind, (ev.Metric(kind, "neither"),),
            lambda samples, task: [ev.Row(kind, samples.name, 1.0, role=samples.role)], lambda rows, task: "",
            controls=lambda bench: bench.control_names[:2], seconds=lambda task: 10.0,
        )  # fmt: skip

    plant(controlled("one"), controlled("two"))
    subject = ev.Subject("generator", _sample)
    assert ev.expected_time(subject, data, cache_dir=tmp_path).seconds == 7 + 2 * 3 * 10
    ev.evaluate(subject, data, ["one"], cache_dir=tmp_path)
    assert ev.expected_time(subject, data, cache_dir=tmp_path).seconds == 7 + 10 + 3 * 10


class Clocks:
    """Both clocks of a machine that gives a program every fourth slice of time, and stops it at bad moments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
        self.share, self.own, self.wall = share, 0.0, 0.0
        told = SimpleNamespace(thread_time=lambda: self.own, perf_counter=lambda: self.wall)
        monkeypatch.setattr(duration, "time", told)

    def work(self, seconds: float) -> None:
        self.own += seconds
        self.wall += seconds / self.share


@pytest.mark.parametrize(("share", "said"), [(1.0, "about 80 s"), (0.25, "about 80 s, or up to 5 min if")])
def test_a_forecast_does_not_depend_on_what_else_runs(share: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, lasts = Clocks(monkeypatch, share), iter([0.5, 0.004, 0.012, 0.004, 0.004])
    stretch = duration.Stretch()
    seconds = duration.timed(lambda: clocks.work(next(lasts)), 20_000)
    assert seconds == pytest.approx(80), "the first call is not counted, nor is a slow one beside quick ones"
    assert duration.Forecast(seconds, stretch()).text().startswith(said)


def test_what_the_last_minute_of_training_took_is_fairer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment said 8 times where 4 came true; what was long ago, or before a pause, says nothing."""
    notes: deque[tuple[int, float, float]] = deque()
    monkeypatch.setattr(machine_load, "_NOTES", notes)
    clocks = Clocks(monkeypatch, 0.125)
    stretch = duration.Stretch()
    clocks.work(1.0)
    assert stretch.forecast(80) == duration.Forecast(80, 8.0)
    for second in range(5):
        machine_load.note(1, float(second), second / 4)
    assert machine_load.lately() is None, "4 s are too few"
    for second in range(5, 200):
        machine_load.note(1, float(second), second / 4 if second < 100 else 25 + (second - 100) / 2)
    assert machine_load.lately() == 2.0
    found = stretch.forecast(80)
    assert found.text() == "about 80 s, or 3 min if this machine stays as busy as in the last minute"
    machine_load.note(1, 300.0, 80.0)
    assert machine_load.lately() is None, "a pause of 100 s"
    assert len(notes) == 1
    for second in range(20):
        machine_load.note(2, float(second), second * 1.0)
    assert machine_load.lately() == 1.0


def test_features_are_counted_once_for_all_who_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((100, 1, 4, 4), np.uint8)
    whole = Dataset("d", "image", {name: Split(rows) for name in ("train", "valid", "test")}, (), "ab")
    bench = ev.sets.Bench(ev.Subject("generator", lambda n, seed: torch.zeros(n)), whole, 0)
    monkeypatch.setattr(duration, "timed", lambda work, times=1.0: 3.0 * times)
    extractor: Any = SimpleNamespace(sha256="a", extract=lambda x: None)
    tasks = [(ev.Task(bench, n, extractor), controls) for n, controls in ((64, 4), (64, 0), (640, 2))]
    assert duration.features(tasks) == pytest.approx((1 + 4 + 1) * 10 * 3), "model, controls and test rows, 640 of each"
    assert duration.features([(ev.Task(bench, 64, None), 4)]) == 0


def test_a_report_as_json_holds_what_the_page_says(data: Dataset, plant: Callable[..., None]) -> None:
    plant(_planted("one", 1.0))
    told: dict[str, Any] = json.loads(json.dumps(ev.evaluate(_sample, data).to_json()))
    assert told["standing"] == "unknown"
    assert told["verdict"] == "one is 1."
    assert told["results"][0]["rows"][0]["value"] == 1.0
    assert set(told) == {"label", "standing", "verdict", "limits", "not measured", "results"}


def test_colour_pictures_have_no_parzen_unless_it_is_asked_for() -> None:
    def made(channels: int) -> Dataset:
        x = np.random.default_rng(0).integers(0, 256, (30, channels, 4, 4), dtype=np.uint8)
        return Dataset("photos", "image", {"train": Split(x), "valid": Split(x), "test": Split(x)}, (), "ab")

    parzen = ev.get_protocol("parzen")
    for channels, usual in ((1, True), (3, False)):
        bench = ev.sets.Bench(ev.Subject("generator", lambda n, seed: torch.zeros(n)), made(channels), 0)
        assert parzen.usual(bench) is usual
        assert parzen.unfit(bench) == ""
