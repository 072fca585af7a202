"""Sweeps: the space as it is written, a store that workers share, pruning, what chooses and what is only measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.gan import GAN
from saddlepoint.run.sweeps import space
from saddlepoint.run.sweeps import store as stores
from saddlepoint.run.sweeps import sweep as sweeping
from saddlepoint.run.sweeps.space import Dimension, options_of, read_over
from saddlepoint.run.sweeps.store import Store, best_of
from saddlepoint.run.sweeps.trial import Ended, Pruning

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
POINTS = GAN.PRESETS["points"]
SMALL: dict[str, Any] = {
    "preset": "points", "generator_widths": (8,), "discriminator_widths": (8,), "threads": 1, "precision": "fp32",
    "steps": 3,
}  # fmt: skip


def rows(n: int = 600) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype("float32")


def test_ranges_and_choices_are_read() -> None:
    lr, batch, widths = read_over(
        ["lr=1e-4..1e-2", "--batch-size=16..64:linear", "generator_widths=64,64/128,128"], POINTS
    )
    assert lr == Dimension("lr", "real", 1e-4, 1e-2, True)
    assert batch == Dimension("batch_size", "whole", 16, 64, False)
    assert widths.choices == ("64,64", "128,128")
    assert [read_over([str(one)], POINTS)[0] for one in (lr, batch, widths)] == [lr, batch, widths], "as it is shown"
    assert options_of((batch, widths), {"batch_size": 20, "generator_widths": "64,64"}) == {
        "batch_size": 20, "generator_widths": "64,64",
    }  # fmt: skip
    assert not read_over(["lr=0.1..0.5"], POINTS)[0].log


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lrr=1..2", r"no option 'lrr'; did you mean 'lr'\?"),
        ("lr", "must be an option with a range or choices"),
        ("lr=", "must be an option with a range or choices"),
        ("lr=2..1", "the lower end of a range must be below the upper one"),
        ("lr=a..1", "ends of a range must be numbers"),
        ("lr=nan..1", "the lower end of a range must be below the upper one"),
        ("lr=-1..1", "lr is -1.0, but it must be positive"),
        ("lr=0..1:log", "must lie above 0; write 0..1:linear"),
        ("lr=1..2:cubic", "the scale is 'cubic'; choose from: linear, log"),
        ("batch_size=1.5..8", "takes whole numbers"),
        ("objective=a..b", "'objective' is no number; name its choices"),
        ("objective=minimax", "two different choices or more"),
        ("objective=minimax,minimax", "two different choices or more"),
        ("objective=minimax,zzz", "objective is 'zzz'"),
    ],
)
def test_what_is_no_range_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_over([text], POINTS)


def test_an_option_has_one_range() -> None:
    with pytest.raises(ConfigError, match="'lr' is swept over twice"):
        read_over(["lr=1e-4..1e-2", "lr=1..2"], POINTS)
    with pytest.raises(ConfigError, match="nothing is swept over"):
        read_over([], POINTS)


@pytest.mark.parametrize(
    ("text", "value", "point"),
    [
        ("lr=0.1..1", 0.5, 0.5),
        ("lr=0.1..1", 2.0, None),  # Optuna would take it as it is
        ("lr=0.1,0.50", 0.5, "0.50"),
        ("generator_widths=8,8/16", (8, 8), "8,8"),
        ("generator_widths=8,8/16", (8,), None),
    ],
)
def test_the_values_of_a_preset_are_a_point_where_they_lie_in_the_space(text: str, value: Any, point: Any) -> None:
    assert read_over([text], POINTS)[0].holds(value) == point


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "true"),
        (False, "false"),
        (None, "none"),
        ((8, 16), "8,16"),
        ((), ""),
        (0.5, "0.5"),
        (7, "7"),
        ("Adam", "Adam"),
    ],
)
def test_values_are_written_as_options_take_them(value: Any, word: str) -> None:
    assert space._written(value) == word


def store(folder: Path, trials: int = 6, seed: int = 0, url: str | None = None) -> Store:
    over = read_over(["lr=1e-4..1", "objective=minimax,non-saturating"], POINTS)
    return Store(folder, url, "study", seed, over, trials)


def worked(at: Store, most: int = 100) -> list[Mapping[str, Any]]:
    """Carry out trials whose figure is |log10 lr + 2|; return the values drawn."""
    drawn = []
    for _ in range(most):
        with at.claimed() as trial:
            if trial is None:
                break
            drawn.append(trial.values)
            at.tell(trial, "complete", abs(np.log10(trial.values["lr"]) + 2), seconds=1.5)
    return drawn


def test_a_sweep_that_stopped_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    whole = worked(store(tmp_path / "a", 13))
    parts = worked(store(tmp_path / "b", 13), 5)
    parts += [one for trials in (12, 13) for one in worked(store(tmp_path / "b", trials))]
    assert len(whole) == 13
    assert parts == whole
    assert worked(store(tmp_path / "c", 3, seed=1)) != whole[:3]
    best = best_of(store(tmp_path / "a").known())
    assert best is not None
    assert best.figure == min(abs(np.log10(values["lr"]) + 2) for values in whole)
    assert best.about == {"seconds": 1.5}


@pytest.mark.parametrize(
    ("said", "opens"),
    [
        ('duplicate key value violates unique constraint "pg_type_typname_nsp_index"', True),
        ("table studies already exists", True),
        ("connection refused", False),
    ],
)
def test_two_workers_may_make_a_store_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, opens: bool
) -> None:
    import optuna

    first, calls = optuna.create_study, list[int]()

    def made(**asked: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError(said)  # what PostgreSQL and SQLite say of the tables that the other worker has just made
        return first(**asked)

    monkeypatch.setattr(optuna, "create_study", made)
    monkeypatch.setattr(stores, "_PAUSE", 0.0)
    if opens:
        assert len(worked(store(tmp_path, 2))) == 2
    else:
        with pytest.raises(ConfigError, match="cannot be opened: connection refused; it must be a URL"):
            store(tmp_path, 2, url=f"sqlite:///{tmp_path}/x")
        assert len(calls) == 1


@pytest.mark.parametrize("url", [None, "sqlite:///{}/store.db"])
def test_workers_share_a_store(tmp_path: Path, url: str | None) -> None:
    at = [store(tmp_path, 3, url=url and url.format(tmp_path)) for _ in range(2)]
    with at[0].claimed() as one, at[1].claimed() as two:
        assert one is not None
        assert two is not None
        assert {one.number, two.number} == {0, 1}
        assert one.values != two.values
        at[1].tell(two, "pruned", why="the doctor")
        with at[1].claimed() as three, at[1].claimed() as none:
            assert three is not None
            assert three.number == 2
            assert none is None, "there are as many as are wanted"
        at[0].tell(one, "complete", 0.5)
    assert [trial.state for trial in at[0].known()] == ["complete", "pruned", "running"]
    # Trial 2 was left by a worker that is gone: its values are as they were drawn.
    with at[0].claimed() as left:
        assert left is not None
        assert (left.number, left.values) == (2, three.values)
        with at[1].claimed() as nothing:
            assert nothing is None, "somebody works on it"


def test_the_values_of_the_preset_come_first(tmp_path: Path) -> None:
    at = store(tmp_path)
    for _ in range(2):
        at.begin_with({"lr": 0.25, "objective": "minimax"})
    assert worked(at, 2)[0] == {"lr": 0.25, "objective": "minimax"}
    assert len(at.known()) == 2


def test_an_alarm_ends_a_trial() -> None:
    from saddlepoint import StopTraining

    line = {"step": 5, "verdict": "partial collapse"}
    Pruning(prunes=False).on_report(line)
    watch = Pruning(prunes=True)
    watch.on_report({"step": 4, "verdict": "no trouble seen"})
    watch.on_report({"step": 4})
    with pytest.raises(StopTraining):
        watch.on_report(line)
    assert watch.verdict == "partial collapse"


def test_a_sweep_from_the_first_trial_to_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Path] = []

    def evaluate(run: Any, say: Any, threads: Any) -> list[Any]:
        measured.append(run.path)
        assert run.config["settings"]["seed"] != 0, "no seed by which it was chosen"
        return []

    monkeypatch.setattr("saddlepoint.run.sweeps.winner._measured", evaluate)
    said: list[str] = []
    asked: dict[str, Any] = {"over": {"lr": "1e-3..1"}, "out": tmp_path / "s", "say": said.append, "seeds": 2, **SMALL}
    first = sweeping.sweep("gan", rows(), trials=2, **asked)
    assert [trial.state for trial in first.trials] == ["complete", "complete"]
    for trial in first.trials:
        assert f"trial {trial.number}: complete, {trial.figure:.6g}" in said
    assert first.best is not None
    assert first.best.figure == min(trial.figure for trial in first.trials if trial.figure is not None)
    assert first.winner is not None
    assert measured == list(first.winner.runs)
    assert [RunFolder(run).read_config()["options"]["lr"] for run in measured] == [first.best.values["lr"]] * 2
    assert RunFolder(tmp_path / "s" / "trials" / "0000").read_config()["settings"]["remedy"] == "off"
    kept = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert kept["best"]["number"] == first.best.number
    assert kept["winner"]["runs"] == [f"winner/{first.best.number:04d}-seed{seed}" for seed in (1, 2)]
    assert (tmp_path / "s" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    more = sweeping.sweep("gan", rows(), trials=3, **asked)
    assert more.trials[:2] == first.trials, "what is done is not done again"
    assert len(more.trials) == 3
    with pytest.raises(ConfigError, match=r"holds another sweep \(over differ\)"):
        sweeping.sweep("gan", rows(), trials=3, **{**asked, "over": {"lr": "1e-3..2"}})


def test_test_rows_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other test rows, the same sweep: trials, figures, best."""
    found = []
    for name, shift in (("a", 0.0), ("b", 9.0)):
        x = rows()
        data = {"train": x[:400], "valid": x[400:500], "test": x[500:] + shift}
        found.append(sweeping.sweep("gan", data, over=["lr=1e-3..1"], trials=2, out=tmp_path / name, seeds=0, **SMALL))
    assert [(t.values, t.figure) for t in found[0].trials] == [(t.values, t.figure) for t in found[1].trials]
    assert found[0].best is not None
    assert found[0].winner is None


def test_options_that_do_not_fit_together_fail_a_trial_only(tmp_path: Path) -> None:
    asked = {**SMALL, "out": tmp_path / "s", "seeds": 0, "micro_batch": 16}
    found = sweeping.sweep("gan", rows(), over=["batch_size=16,24"], trials=5, **asked)
    states = {trial.values["batch_size"]: trial.state for trial in found.trials}
    assert states == {"16": "complete", "24": "failed"}
    assert "micro_batch is 16" in next(trial.about["why"] for trial in found.trials if trial.state == "failed")


def test_interrupted_trials_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def carried_out(plan: Any, prunes: bool, validation: Any, observer: Observer) -> Ended:
        calls.append(plan.out.name)
        return Ended("interrupted") if len(calls) == 2 else Ended("complete", 1.0)

    monkeypatch.setattr(sweeping, "carry_out", carried_out)
    asked: dict[str, Any] = {"over": ["lr=1e-3..1"], "trials": 3, "out": tmp_path / "s", "seeds": 0, **SMALL}
    first = sweeping.sweep("gan", rows(), **asked)
    assert first.interrupted
    second = sweeping.sweep("gan", rows(), **asked)
    assert calls == ["0000", "0001", "0001", "0002"]
    assert [trial.state for trial in second.trials] == ["complete"] * 3


def test_a_sweep_of_failures_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "carry_out", lambda *_: Ended("failed", about={"why": "k is 2"}))
    with pytest.raises(ConfigError, match="every trial failed; the last one: k is 2"):
        sweeping.sweep("gan", rows(), over=["lr=1e-3..1"], trials=2, out=tmp_path / "s", seeds=0, **SMALL)


def test_few_validation_rows_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validation rows, and nothing is chosen by fewer than 50; bring more data"):
        sweeping.sweep("gan", rows(100), over=["lr=1e-3..1"], trials=2, out=tmp_path / "s", **SMALL)
    assert not (tmp_path / "s" / "trials").exists()


def test_a_run_folder_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is no folder of a sweep, but holds config\.json"):
        sweeping.sweep("gan", rows(), over=["lr=1e-3..1"], out=tmp_path, **SMALL)
