"""How many threads: timed, chosen, watched, noted in the log, and the same again when a run is resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.openmp import CHOICES
from saddlepoint.engine.machine import threads
from saddlepoint.engine.machine.runtime import read_threads
from saddlepoint.engine.machine.threads import ChosenThreads, StepTimes, measured_threads, time_steps
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation.effort import small_part
from saddlepoint.run import api
from saddlepoint.run.subject import training_of
from tests.unit.data_helpers import pictures, write_folder

SMALL = {"batch_size": 8, "width": 8}


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


class Machine:
    """A clock that only steps move: by so many seconds as the number of threads in use says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
        self.now, self.seconds, self.steps = 0.0, seconds, list[int]()
        told = SimpleNamespace(perf_counter=lambda: self.now, monotonic=lambda: self.now)
        monkeypatch.setattr(threads, "time", told)

    def step(self) -> None:
        count = torch.get_num_threads()
        self.steps.append(count)
        self.now += self.seconds[count]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 0.010, 2: 0.006}, 2),
        ({1: 0.003, 2: 0.310}, 1),
        ({1: 0.010, 2: 0.0095}, 1),
        ({8: 0.002, 4: 0.003, 2: 0.006, 1: 0.012}, 8),
        ({8: 0.050, 4: 0.003, 2: 0.004, 1: 0.007}, 4),
        ({8: 5.0, 4: 0.5, 2: 0.05, 1: 0.005}, 1),
    ],
)
def test_the_fastest_number_is_found(seconds: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, seconds)
    torch.set_num_threads(3)
    found = time_steps(machine.step, max(seconds))
    assert found.best() == best
    assert found.seconds == pytest.approx(seconds)
    assert torch.get_num_threads() == 3
    assert set(machine.steps) == set(seconds)


def test_one_bad_moment_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.010, 2: 0.006})
    made = 0

    def step() -> None:
        nonlocal made
        made += 1
        machine.step()
        # Half of the first turn of two threads is lost to another program.
        machine.now += 0.010 if made == 3 else 0.0

    assert time_steps(step, 2).best() == 2


def test_a_look_takes_the_time_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for step, most in ((0.0001, 1.0), (0.02, 1.0), (0.15, 1.0), (0.02, 0.3)):
        machine = Machine(monkeypatch, {1: step, 2: step})
        time_steps(machine.step, 2, most)
        assert machine.now <= max(most, 2 * step) + 2 * step + 1e-9
    # Of steps of many seconds one each is made, and none with fewer threads than pay.
    machine = Machine(monkeypatch, {16: 5.0, 8: 9.0, 4: 18.0, 2: 36.0, 1: 72.0})
    assert time_steps(machine.step, 16).best() == 16
    assert machine.steps == [16, 8, 4]


def test_what_is_said_holds_both_times_and_speaks_of_others_only_if_there_are() -> None:
    assert StepTimes({1: 0.003, 2: 0.31}, 0.2).told() == "here a step takes 3.0 ms with 1, 310 ms with 2"
    assert (
        StepTimes({1: 0.003, 2: 2.0}, 1.5).told().endswith("3.0 ms with 1, 2.0 s with 2: other programs use the cores")
    )
    assert StepTimes({1: 0.0123}, None).told() == "here a step takes 12 ms with 1"


def chooser(asked: int | None = None, most: int = 2, **more: object) -> tuple[ChosenThreads, list[str]]:
    torch.set_num_threads(most)
    said: list[str] = []
    made = ChosenThreads(asked, say=said.append, **more)  # type: ignore[arg-type]
    made.restore(list)
    return made, said


def test_a_run_begins_with_the_fastest_number_and_its_log_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.003, 2: 0.31})
    chosen, said = chooser()
    (line,) = chosen.before_step(0, 0, "main", machine.step)
    assert line == {
        "step": 0, "nimg": 0, "event": "threads", "threads": 1, "step_seconds": {"1": 0.003, "2": 0.31},
    }  # fmt: skip
    assert torch.get_num_threads() == 1
    assert len(said) == 1
    assert said[0].startswith("threads: 1 (here a step takes 3.0 ms with 1, 310 ms with 2")
    assert chosen.before_step(1, 8, "main", machine.step) == []


def go(chosen: ChosenThreads, machine: Machine, seconds: float, stage: str = "main") -> list[dict[str, object]]:
    """Train for some time on the machine's clock; return the log lines."""
    lines, until, step = list[dict[str, object]](), machine.now + seconds, 100
    while machine.now < until:
        lines += chosen.before_step(step, step, stage, machine.step)
        with chosen.timed():
            machine.step()
        step += 1
    return lines


def test_a_machine_that_becomes_busy_or_idle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.010, 2: 0.006})
    chosen, said = chooser()
    assert [line["threads"] for line in go(chosen, machine, 60)] == [2]
    machine.seconds = {1: 0.012, 2: 0.200}
    # Collapse: seen within a few seconds, though the next look by the clock may be minutes away.
    assert [line["threads"] for line in go(chosen, machine, 8)] == [1]
    assert said[-1].startswith("threads: 1 instead of 2 (here a step takes 12 ms with 1, 200 ms with 2")
    assert go(chosen, machine, 60) == []
    machine.seconds = {1: 0.010, 2: 0.006}
    assert [line["threads"] for line in go(chosen, machine, 330)] == [2]
    assert len(said) == 3


def test_small_differences_change_nothing_in_the_midst_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.010, 2: 0.0085})
    chosen, said = chooser()
    assert len(go(chosen, machine, 5)) == 1
    machine.seconds = {1: 0.010, 2: 0.0095}
    assert go(chosen, machine, 300) == []
    assert len(said) == 1


def test_looks_take_a_hundredth_of_a_long_run_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.010, 2: 0.006})
    chosen, _ = chooser()
    spent, made = 0.0, 0
    until = machine.now + 1800
    while machine.now < until:
        before = machine.now
        chosen.before_step(made, made, "main", machine.step)
        spent += machine.now - before
        with chosen.timed():
            machine.step()
        made += 1
    assert 0 < spent < 0.01 * 1800


def test_each_stage_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.010, 2: 0.020})
    chosen, _ = chooser()
    assert [line["threads"] for line in go(chosen, machine, 3, "embedding")] == [1]
    machine.seconds = {1: 0.040, 2: 0.020}
    assert [line["threads"] for line in go(chosen, machine, 3, "joint")] == [2]


def test_a_number_that_was_asked_for_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.003, 2: 0.31})
    chosen, said = chooser(2)
    assert go(chosen, machine, 100) == []
    assert set(machine.steps) == {2}
    assert said == []


def test_one_core_has_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.003})
    chosen, said = chooser(most=1)
    (line,) = chosen.before_step(0, 0, "main", machine.step)
    assert line == {"step": 0, "nimg": 0, "event": "threads", "threads": 1}
    assert machine.steps == said == []


def test_what_is_asked_for_is_read() -> None:
    assert [read_threads(asked) for asked in (None, "auto", 3, "3")] == [None, None, 3, 3]
    for asked in ("two", "1.5", ""):
        with pytest.raises(
            ConfigError, match=f"threads is '{asked}', but it must be a whole number such as 2, or auto"
        ):
            read_threads(asked)
    for number in (0, -2):
        with pytest.raises(ConfigError, match=f"threads is {number}, but it must be at least 1"):
            api.plan(threads=number)


Looks = Callable[[dict[int, int]], None]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Make a run look at the steps that are named, and find what is said; any other look is an error."""

    def arrange(found: dict[int, int]) -> None:
        now = 0

        def before_step(self: ChosenThreads, step: int, *rest: object) -> list[dict[str, object]]:
            nonlocal now
            now = step
            return real(self, step, *rest)  # type: ignore[arg-type]

        def find(step: Callable[[], object], most: int, seconds: float = 1.0) -> StepTimes:
            step()
            return StepTimes({n: 0.01 if n == found[now] else 0.02 for n in (1, 2)})

        monkeypatch.setattr(ChosenThreads, "before_step", before_step)
        monkeypatch.setattr(ChosenThreads, "_due", lambda self, stage: self.count is None or now in found)
        monkeypatch.setattr(threads, "time_steps", find)
        torch.set_num_threads(2)

    real = ChosenThreads.before_step
    return arrange


def events(path: Path) -> list[tuple[int, int]]:
    return [(line["step"], line["threads"]) for line in RunFolder(path).read_log() if line.get("event") == "threads"]


def test_a_resumed_run_goes_on_with_the_number_it_had(looks: Looks, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "pictures", list(pictures(12, 16)))
    request = {"data": str(data), "size": 16, "options": SMALL, "remedy": "off", "precision": "fp32"}
    looks({0: 1, 6: 2})
    straight = saddlepoint.train("dcgan", steps=20, out=tmp_path / "straight", **request)
    assert events(straight.path) == [(0, 1), (6, 2)]
    assert straight.config["threads"] == "auto"
    looks({0: 1, 6: 2})
    saddlepoint.train("dcgan", steps=12, out=tmp_path / "resumed", **request)
    looks({})
    resumed = saddlepoint.resume(tmp_path / "resumed", steps=20)
    assert events(resumed.path) == [(0, 1), (6, 2)]
    for name, tensor in straight.family.state_dict().items():
        assert torch.equal(tensor, resumed.family.state_dict()[name]), name
    facts = training_of(resumed).facts
    assert facts is not None
    assert "1 to 2 threads" in facts["machine"]


def test_a_fixed_number_stays_at_resume_and_a_new_one_is_noted(looks: Looks, tmp_path: Path) -> None:
    request = {"data": "ring8", "options": {"generator_widths": "8", "discriminator_widths": "8"}, "preset": "points"}
    looks({})
    run = saddlepoint.train("gan", steps=3, out=tmp_path / "run", threads=2, **request)
    assert run.config["threads"] == 2
    assert events(run.path) == []
    saddlepoint.resume(run.path, steps=5)
    assert events(run.path) == []
    saddlepoint.resume(run.path, steps=7, threads=1)
    assert events(run.path) == [(5, 1)]
    looks({})
    saddlepoint.resume(run.path, steps=9, threads="auto")
    assert RunFolder(run.path).read_config()["threads"] == "auto"
    assert events(run.path) == [(5, 1)]


def test_the_process_has_its_threads_back_afterwards(looks: Looks, tmp_path: Path) -> None:
    looks({0: 1})
    saddlepoint.train("gan", "ring8", preset="points", steps=2, out=tmp_path / "run")
    assert torch.get_num_threads() == 2


def test_a_block_takes_the_fastest_number_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, said = Machine(monkeypatch, {1: 0.003, 2: 0.31}), list[str]()
    torch.set_num_threads(2)
    with measured_threads(None, machine.step, said.append) as count:
        assert count == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert len(said) == 1
    machine.steps.clear()
    for asked, worth, taken in (("2", True, 2), (1, True, 1), ("auto", False, 2)):
        with measured_threads(asked, machine.step, said.append, worth=worth) as count:
            assert count == torch.get_num_threads() == taken
    assert machine.steps == []
    assert len(said) == 1


def test_a_part_of_an_evaluation_leaves_random_numbers_alone() -> None:
    state = torch.random.get_rng_state()
    for name in ("digits", "ring8"):
        small_part(saddlepoint.load_dataset(name))()
    assert torch.equal(torch.random.get_rng_state(), state)


def waiting(code: str, **environment: str) -> str:
    """Return what a fresh process prints whose environment chooses nothing else."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**kept, **environment}
    ).stdout.strip()


def test_waiting_threads_turn_shortly_unless_the_user_chose_otherwise() -> None:
    told = f"import os, saddlepoint, sys; print(*(os.environ.get(n) for n in {CHOICES}), 'torch' in sys.modules)"
    assert waiting(told) == "None 4000 1 False"
    assert waiting(told, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None None False"
    assert waiting(told, GOMP_SPINCOUNT="1000") == "None 1000 None False"
    assert waiting(told, KMP_BLOCKTIME="0") == "None None 0 False"
    # PyTorch's library has read its environment by then.
    assert waiting("import torch; " + told) == "None None None True"
