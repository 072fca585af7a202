"""The doctor in a run: it only looks; its verdicts, remedies and stops survive a stop and resume bit for bit."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import option
from saddlepoint.core.errors import CheckpointError, TrainingError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine import profiles
from saddlepoint.engine.doctor import diagnostics, monitor, remedies, verdict
from saddlepoint.engine.doctor.diagnostics import Evaluator, order
from saddlepoint.engine.doctor.monitor import Monitor, plays
from saddlepoint.engine.doctor.remedies import course_of, finish_announced, train_with_remedies
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import SILENT, Observer, Outcome, Settings
from saddlepoint.engine.storage.checkpoint import list_checkpoints, newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    Family,
    FamilyConfig,
    Iterative,
    OptimizerSpec,
    Phase,
    Progress,
    Remedy,
    Stage,
    Tags,
    Terms,
    build_family,
    families,
    get_family,
)
from tests.contract.presets import made, quick_ones, reduced

BATCH = 100


@dataclass(frozen=True)
class PullConfig(FamilyConfig):
    """A generator that moves towards a spread; what goes wrong after 6,000 samples is a field."""

    batch_size: int = option(BATCH, "samples per minibatch")
    target: float = option(0.0, "spread that the generator is pulled to once it is ill")
    pull: float = option(0.5, "step size")
    explode: bool = option(False, "whether the loss stops being finite instead")


class Pull(Family):
    """Learns one number, the scale of its samples: 1 at first (healthy), then towards ``target``."""

    name = "pull"
    summary = "for tests"
    tags = Tags(modalities=("vector",))
    Config = PullConfig

    def __init__(self, config: PullConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.generator = nn.Linear(2, 2, bias=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        nn.init.eye_(self.generator.weight)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("main", (Phase("generator", ("generator",), "sgd"),)),)

    def optimizers(self) -> dict[str, OptimizerSpec]:
        return {"sgd": OptimizerSpec("sgd", lr=self.config.pull)}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        ill = ctx.progress.nimg >= 6000
        wanted = torch.eye(2) * (self.config.target if ill else 1.0)
        loss = (self.generator.weight - wanted).square().sum() + 0.0 * batch.x.sum()
        if ill and self.config.explode:
            loss = loss / 0.0
        return Terms(loss)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 2, generator=generator)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.generator(inputs)


HELPS = Remedy("right", verdict.ALARMS, lambda c: replace(c, target=1.0, explode=False), "it pulls to the right place")
USELESS = Remedy("wrong", verdict.ALARMS, lambda c: replace(c, pull=c.pull / 2), "it does nothing that matters")
NEVER = Remedy("never", verdict.ALARMS, lambda c: None, "it does not apply")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds in samples seen, scaled down to a run of 20,000, and small evaluations."""
    monkeypatch.setattr(diagnostics, "SAMPLES", 64)
    for name, value in (
        ("GRACE", 1000),
        ("GRACE_OF_POINTS", 1000),
        ("LATEST_START", 0),
        ("SPAN", 400),
        ("PLATEAU_NIMG", 2000),
    ):
        monkeypatch.setattr(verdict, name, value)
    monkeypatch.setattr(monitor, "HEALTHY_NIMG", 2000)
    monkeypatch.setattr(remedies, "WATCH_NIMG", 1500)
    monkeypatch.setattr(remedies, "PAYBACK", 0.1)


def gaussian() -> Dataset:
    rng = np.random.default_rng(0)
    splits = {name: Split(rng.normal(size=(2000, 2)).astype(np.float32)) for name in ("train", "valid")}
    return Dataset("gaussian", "vector", splits, (), "0")


def train(
    folder: Path,
    config: PullConfig,
    tried: tuple[Remedy, ...],
    observer: Observer = SILENT,
    kimg: float = 20.0,
    **settings: object,
) -> tuple[Outcome, Pull]:
    dataset, built = gaussian(), []
    chosen = Settings(**{"remedy": "auto", "kimg": kimg, "report_kimg": 0.4, **settings})  # type: ignore[arg-type]
    evaluator = Evaluator(dataset, 0, "cpu")
    run = RunFolder(folder)

    def build(options: FamilyConfig) -> Trainer:
        built.append(Pull(options, dataset.spec))  # type: ignore[arg-type]
        feed = Feed(dataset.splits["train"], BATCH, 0)
        return Trainer(built[-1], feed, chosen, run, observer, Monitor(evaluator, chosen, run, observer))

    return train_with_remedies(build, config, tried, run, observer, dataset.stats), built[-1]


def events(folder: Path) -> list[tuple[str, str | None]]:
    return [(line["event"], line["remedy"]) for line in RunFolder(folder).read_log() if "event" in line]


def without_timing(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k != "timing"} for line in RunFolder(folder).read_log()]


def averages(folder: Path) -> dict[str, object]:
    """Return the averages of several lengths that a run stands with: in its checkpoint, and kept on disk."""
    checkpoint, _ = newest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    moments = {path.name: path.read_bytes() for path in (folder / "averages").iterdir()}
    assert list(moments) != []
    return {**moments, **{name: t.tolist() for name, t in checkpoint.tensors["profiles"].items()}}


def test_averages_after_going_back_are_those_of_the_steps_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given up is in none of them: the profile is that of a run which never was ill."""
    monkeypatch.setattr(profiles, "INTERVAL", 2)
    train(tmp_path / "ill", PullConfig(), (HELPS,))
    assert events(tmp_path / "ill")[0] == ("rollback", "right")
    train(tmp_path / "well", PullConfig(target=1.0), ())
    assert averages(tmp_path / "ill") == averages(tmp_path / "well")


def test_a_remedy_that_heals_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    outcome, family = train(tmp_path, PullConfig(), (NEVER, HELPS), Observer(say=told.append, warn=told.append))
    assert outcome.reason == "budget"
    assert outcome.progress.nimg == 20_000
    assert events(tmp_path) == [("rollback", "right"), ("kept", "right")]
    assert family.config.target == 1.0
    assert torch.allclose(family.generator.weight, torch.eye(2))
    story = json.loads((tmp_path / "remedies.json").read_text())
    assert [entry["remedy"] for entry in story] == ["right"]
    assert story[0]["verdict"] in ("partial collapse", "full collapse")
    assert story[0]["changes"] == {"target": 1.0}
    assert story[0]["back_to_nimg"] <= 6000 < story[0]["alarm_nimg"]
    assert story[0]["outcome"].startswith("kept at")
    assert any("remedy 'right' (target 1)" in line for line in told)
    assert any("remedy 'right' is kept" in line for line in told)
    given_up = (story[0]["alarm_nimg"] - story[0]["back_to_nimg"]) / 1000
    assert any(f"{given_up:,.0f} kimg are given up" in line for line in told)
    abandoned = (tmp_path / story[0]["abandoned"]).read_text().splitlines()
    assert json.loads(abandoned[-1])["nimg"] == story[0]["alarm_nimg"]
    steps = [line["step"] for line in RunFolder(tmp_path).read_log()]
    assert steps == sorted(steps)


def test_a_remedy_that_does_not_help_is_undone_and_the_next_one_gives_nothing_up(tmp_path: Path) -> None:
    """Never twice from the same place to the same end: the second remedy starts from where training stands."""
    told: list[str] = []
    _, family = train(tmp_path, PullConfig(), (USELESS, HELPS), Observer(say=told.append, warn=told.append))
    assert events(tmp_path) == [("rollback", "wrong"), ("remedy", "right"), ("kept", "right")]
    assert family.config.pull == 0.5
    story = json.loads((tmp_path / "remedies.json").read_text())
    assert story[0]["outcome"].startswith("undone: ")
    assert story[0]["back_to_nimg"] < story[0]["alarm_nimg"]
    assert story[1]["back_to_nimg"] == story[1]["alarm_nimg"]
    assert any("remedy 'wrong' did not help" in line for line in told)
    assert any("nothing is given up" in line for line in told)
    assert not (tmp_path / story[1]["abandoned"]).exists()


def test_what_is_not_lost_is_never_gone_back_from(tmp_path: Path) -> None:
    """A part of the spread is missing, but there is something to go on from."""
    train(tmp_path, PullConfig(target=0.4), (HELPS,))
    assert events(tmp_path) == [("remedy", "right"), ("kept", "right")]
    story = json.loads((tmp_path / "remedies.json").read_text())
    assert story[0]["verdict"] == "partial collapse"


def test_when_no_remedy_is_left_training_goes_on_from_where_it_stands(tmp_path: Path) -> None:
    outcome, family = train(tmp_path, PullConfig(), (USELESS,))
    assert outcome.progress.nimg == 20_000
    assert events(tmp_path) == [("rollback", "wrong"), ("remedy", None)]
    assert family.config == PullConfig()
    assert verdict.diagnose(RunFolder(tmp_path).read_log()).alarming
    story = json.loads((tmp_path / "remedies.json").read_text())
    assert story[1]["back_to_nimg"] == story[1]["alarm_nimg"]


@pytest.mark.parametrize(("kimg", "tried"), [(8.2, False), (16.0, True), (20.0, True)])
def test_no_remedy_where_the_budget_does_not_allow_as_much_again_as_is_given_up(
    kimg: float, tried: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alarm comes at about 6.8 kimg, and goes back to 0."""
    monkeypatch.setattr(monitor, "HEALTHY_NIMG", 10**9)
    told: list[str] = []
    outcome, _ = train(tmp_path, PullConfig(), (HELPS,), Observer(say=told.append, warn=told.append), kimg=kimg)
    assert outcome.progress.nimg == kimg * 1000
    assert bool(events(tmp_path)) == tried
    declined = [line for line in told if line.startswith("doctor: no remedy: going back would give up 7 kimg")]
    assert len(declined) == (not tried)
    if not tried:
        _, family = train(tmp_path / "off", PullConfig(), (HELPS,), kimg=kimg, remedy="off")
        checkpoints = [newest_checkpoint(RunFolder(path).checkpoints)[0] for path in (tmp_path, tmp_path / "off")]
        assert checkpoints[0] is not None
        assert checkpoints[1] is not None
        assert torch.equal(checkpoints[0].tensors["model"]["generator.weight"], family.generator.weight)


def test_the_budget_left_is_that_of_its_tightest_limit() -> None:
    at = Progress(step=50, nimg=5000, epoch=1.0)
    assert Settings(kimg=20).left(at, 10.0) == pytest.approx(15_000)
    assert Settings(kimg=20, steps=60).left(at, 10.0) == pytest.approx(1000)
    assert Settings(kimg=20, seconds=12.0).left(at, 10.0) == pytest.approx(1000)
    assert Settings(seconds=5.0).left(at, 10.0) == 0.0
    assert Settings().left(at, 10.0) == math.inf


def test_divergence_is_healed_too(tmp_path: Path) -> None:
    _, family = train(tmp_path, PullConfig(explode=True), (USELESS, HELPS))
    assert events(tmp_path) == [("rollback", "wrong"), ("rollback", "right"), ("kept", "right")]
    assert family.generator.weight.isfinite().all()
    story = json.loads((tmp_path / "remedies.json").read_text())
    assert story[0]["verdict"] == "diverged"
    assert "loss of phase 'generator' is not finite" in story[0]["evidence"][0]


def test_divergence_without_a_remedy_left_ends_the_run_with_its_verdict(tmp_path: Path) -> None:
    cases = (("none", (), {}), ("off", (HELPS,), {"remedy": "off"}), ("useless", (USELESS,), {}))
    for name, tried, settings in cases:
        with pytest.raises(TrainingError, match="not finite"):
            train(tmp_path / name, PullConfig(explode=True), tried, **settings)  # type: ignore[arg-type]
        assert verdict.diagnose(RunFolder(tmp_path / name).read_log()).verdict == "diverged"


def test_without_a_healthy_state_the_cause_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began with remedies off has kept none."""
    monkeypatch.setattr("saddlepoint.engine.doctor.remedies.newest_checkpoint", lambda path: (None, {}))
    with pytest.raises(TrainingError, match="not finite"):
        train(tmp_path / "exploded", PullConfig(explode=True), (HELPS,))
    with pytest.raises(CheckpointError, match=r"none was kept\); go on with --remedy off"):
        train(tmp_path / "ill", PullConfig(), (HELPS,))


@pytest.mark.parametrize("stop_at", [5.0, 7.0, 8.0, 9.5, 12.0])
def test_stopped_and_resumed_with_remedies_equals_straight(stop_at: float, tmp_path: Path) -> None:
    """Weights, log lines, healthy checkpoints and the remedy in force, wherever the stop falls."""
    tried = (USELESS, HELPS)
    _, straight = train(tmp_path / "straight", PullConfig(), tried)

    def stop(progress: Progress, *_: object) -> None:
        if progress.nimg == 1000 * stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    interrupted, _ = train(tmp_path / "resumed", PullConfig(), tried, Observer(tick=stop))
    assert interrupted.reason == "interrupted"
    _, resumed = train(tmp_path / "resumed", PullConfig(), tried)
    assert torch.equal(straight.generator.weight, resumed.generator.weight)
    assert resumed.config == straight.config
    assert without_timing(tmp_path / "resumed") == without_timing(tmp_path / "straight")
    names = [[p.name for p in list_checkpoints(tmp_path / f / "healthy")] for f in ("straight", "resumed")]
    assert names[0] == names[1] != []
    assert averages(tmp_path / "resumed") == averages(tmp_path / "straight")


class Killed(BaseException):
    """What a test raises where a process would be gone."""


@pytest.mark.parametrize("moment", range(12))
def test_killed_anywhere_in_a_remedy_equals_straight(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = (USELESS, HELPS)
    train(tmp_path / "straight", PullConfig(), tried)
    count = [0]

    def fragile(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            count[0] += 1
            if count[0] == moment + 1:
                raise Killed
            return function(*args, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("write_atomically", "write_checkpoint", "step_of", "write_remedies"):
            patch.setattr(remedies, name, fragile(getattr(remedies, name)))
        with pytest.raises(Killed):
            train(tmp_path / "killed", PullConfig(), tried)
    train(tmp_path / "killed", PullConfig(), tried)
    assert without_timing(tmp_path / "killed") == without_timing(tmp_path / "straight")
    stories = [json.loads((tmp_path / f / "remedies.json").read_text()) for f in ("straight", "killed")]
    assert stories[0] == stories[1]
    gone_back = [entry for entry in stories[1] if entry["back_to_nimg"] < entry["alarm_nimg"]]
    assert gone_back
    assert all((tmp_path / "killed" / entry["abandoned"]).exists() for entry in gone_back)
    assert averages(tmp_path / "killed") == averages(tmp_path / "straight")


def test_time_spent_on_what_is_given_up_stays_spent(tmp_path: Path) -> None:
    outcome, _ = train(tmp_path, PullConfig(), (HELPS,))
    spent = [line["timing"]["seconds"] for line in RunFolder(tmp_path).read_log() if "timing" in line]
    abandoned = [json.loads(line) for line in (tmp_path / "remedies" / "01.jsonl").read_text().splitlines()]
    assert spent[-1] > abandoned[-1]["timing"]["seconds"]
    assert outcome.seconds >= spent[-1]


def test_a_run_without_any_healthy_state_goes_back_to_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "HEALTHY_NIMG", 10**9)
    train(tmp_path, PullConfig(), (HELPS,))
    assert json.loads((tmp_path / "remedies.json").read_text())[0]["back_to_nimg"] == 0
    assert events(tmp_path) == [("rollback", "right"), ("kept", "right")]


def test_a_rollback_that_is_damaged_or_has_no_goal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rollback.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"rollback\.json' is damaged"):
        finish_announced(RunFolder(tmp_path))
    (tmp_path / "rollback.json").unlink()
    finish_announced(RunFolder(tmp_path))
    assert course_of(RunFolder(tmp_path)).changes == {}
    shutil.rmtree(tmp_path)


def test_training_stops_when_it_is_finished(tmp_path: Path) -> None:
    outcome, _ = train(tmp_path, PullConfig(target=1.0), (), stop_when="finished", kimg=500.0)
    assert outcome.reason == "finished"
    assert outcome.progress.nimg < 100_000
    assert verdict.diagnose(RunFolder(tmp_path).read_log()).verdict == "finished"
    again, _ = train(tmp_path, PullConfig(target=1.0), (), stop_when="finished", kimg=500.0)
    assert again.progress == outcome.progress
    longer, _ = train(tmp_path, PullConfig(target=1.0), (), kimg=outcome.progress.nimg / 1000 + 1)
    assert longer.reason == "budget"


def test_an_alarm_told_once_is_not_told_again_at_resume(tmp_path: Path) -> None:
    told: list[str] = []
    observer = Observer(say=told.append, warn=told.append)
    train(tmp_path, PullConfig(), (), observer, kimg=10.0, remedy="off")
    assert len([line for line in told if "collapse" in line]) >= 1
    told.clear()
    train(tmp_path, PullConfig(), (), observer, kimg=10.2, remedy="off")
    assert told == []


@pytest.mark.parametrize(("name", "preset"), quick_ones(defaults=True))
def test_the_doctor_only_looks(name: str, preset: str, tmp_path: Path) -> None:
    """Weights, averages, optimizers and logged means of a real family are the same bits with and without it."""
    kind = families()[name]
    dataset = made(kind, preset, "vector" if "vector" in kind.tags.modalities else None)
    config = replace(reduced(kind, preset), batch_size=16)
    found = []
    for attended in (False, True):
        folder = RunFolder(tmp_path / str(attended))
        settings = Settings(steps=12, report_kimg=0.05)
        torch.manual_seed(3)
        family = kind(config, dataset.spec)
        looking = {"monitor": Monitor(Evaluator(dataset, 0, "cpu"), settings, folder, SILENT)} if attended else {}
        trainer = Trainer(family, Feed(dataset.splits["train"], 16, 0), settings, folder, **looking)
        before = torch.get_rng_state()
        trainer.train(dataset.stats)
        assert torch.equal(torch.get_rng_state(), before)
        checkpoint, _ = newest_checkpoint(folder.checkpoints)
        assert checkpoint is not None
        means = [{k: v for k, v in x.items() if k not in ("timing", "signs", "verdict")} for x in folder.read_log()]
        found.append((checkpoint.tensors, means))
        looks = attended and not issubclass(kind, Iterative)  # of samples that cost many passes it draws none
        assert any("signs" in line for line in folder.read_log()) == looks
    (one, lines), (two, others) = found
    assert lines == others
    for file, tensors in one.items():
        assert all(torch.equal(tensor, two[file][key]) for key, tensor in tensors.items())


PLANTS = [
    ({}, 0.0, "full collapse"),
    ({"discriminator_lr": 1e-6}, 1.0, "discriminator too weak"),
]


@pytest.mark.parametrize(("options", "noise", "ending"), PLANTS)
def test_a_planted_failure_ends_with_its_verdict(
    options: dict[str, float], noise: float, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small GAN on a Gaussian, thresholds as shipped: without noise it collapses, without a D it drifts."""
    from saddlepoint.families.gan import GAN

    monkeypatch.undo()
    dataset = gaussian()
    config = replace(GAN.PRESETS["mnist"], batch_size=200, generator_widths=(32,), discriminator_widths=(32,))
    config = replace(config, **options)
    family = GAN(config, dataset.spec)
    drawn = family.sample_inputs
    monkeypatch.setattr(family, "sample_inputs", lambda n, generator: noise * drawn(n, generator))
    settings, folder = Settings(kimg=60.0, report_kimg=5.0), RunFolder(tmp_path)
    looking = Monitor(Evaluator(dataset, 0, "cpu"), settings, folder, SILENT)
    Trainer(family, Feed(dataset.splits["train"], 200, 0), settings, folder, monitor=looking).train(dataset.stats)
    assert looking.diagnosis.verdict == ending
    assert looking.diagnosis == verdict.diagnose(folder.read_log())


def test_signs_of_perfect_samples_and_of_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples drawn like the data have ratios of 1 and a distance of 0 within its error; a point mass has none."""
    monkeypatch.undo()
    dataset = gaussian()
    evaluator = Evaluator(dataset, 0, "cpu")
    perfect = torch.from_numpy(np.random.default_rng(5).normal(size=(512, 2)).astype(np.float32))
    found = evaluator._of_samples(evaluator.reference.project(perfect))
    for name in ("spread", "nearest", "rank", "reach"):
        assert found[name] == pytest.approx(1.0, abs=0.12), name
    assert abs(found["raw distance"]) < 4 * found["raw distance error"] + 0.01
    assert found["coverage"] > 0.9
    one = evaluator._of_samples(evaluator.reference.project(torch.zeros(512, 2)))
    assert one["spread"] < 1e-3
    # 2 E|y| - E|y - y'| over E|y - y'| with E|y| = sqrt(pi / 2) and E|y - y'| = sqrt(pi): 2 / sqrt 2 - 1.
    assert one["raw distance"] == pytest.approx(2**0.5 - 1, abs=0.03)


def test_the_energy_distance_agrees_with_its_definition_and_its_error_with_simulation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    evaluator = Evaluator(gaussian(), 0, "cpu")
    rows = evaluator.reference.cloud.rows
    found = []
    for _ in range(200):
        x = torch.from_numpy((rng.normal(size=(512, 2)) * 0.7 + 0.5).astype(np.float32))
        points = evaluator.reference.project(x)
        found.append(evaluator.reference.cloud.energy(points))
    x64, y64 = points.double(), rows.double()
    cross, among, within = (torch.cdist(a, b) for a, b in ((x64, y64), (x64, x64), (y64, y64)))
    scale = within.sum() / (512 * 511)
    by_hand = (2 * cross.mean() - among.sum() / (512 * 511) - scale) / scale
    assert found[-1][0] == pytest.approx(float(by_hand), abs=1e-4)
    values = np.array([value for value, _ in found])
    errors = np.array([error for _, error in found])
    # The data rows are the same in all draws, so the scatter is the samples' part of the error only.
    assert 0.4 * errors.mean() < values.std() < 1.05 * errors.mean()


def test_modes_are_counted_at_the_class_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    centres = np.array([[0, 0], [4, 0], [0, 4], [4, 4]], dtype=np.float32)
    rng = np.random.default_rng(0)

    def rows(n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % classes
        return (centres[labels] + 0.1 * rng.normal(size=(n, 2))).astype(np.float32), labels

    splits = {name: Split(*rows(2000, 4)) for name in ("train", "valid")}
    evaluator = Evaluator(Dataset("four", "vector", splits, ("a", "b", "c", "d"), "0"), 0, "cpu")
    for classes in (1, 2, 4):
        found = evaluator._of_samples(evaluator.reference.project(torch.from_numpy(rows(512, classes)[0])))
        assert found["modes"] == pytest.approx(classes / 4, abs=0.01)
        assert found["modes hit"] == classes / 4


def test_order_is_the_area_under_the_curve() -> None:
    low, high = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0])
    assert order(high, low) == (1.5 + 3) / 6
    assert order(low, low) == 0.5
    assert order(high + 100, low) == 1.0


def test_the_classifier_tells_classes_and_a_distance_in_its_features_at_every_third_evaluation(tmp_path: Path) -> None:
    asked = []

    def classify(samples: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(len(samples))
        return samples * 3 + 1, torch.nn.functional.one_hot((samples[:, 0] > 0).long(), 4).float()

    dataset = gaussian()
    settings, folder = Settings(kimg=20.0, report_kimg=1.0), RunFolder(tmp_path)
    looking = Monitor(Evaluator(dataset, 0, "cpu", classify), settings, folder, SILENT)
    family = Pull(PullConfig(), dataset.spec)
    Trainer(family, Feed(dataset.splits["train"], BATCH, 0), settings, folder, monitor=looking).train(dataset.stats)
    lines = [line["signs"] for line in folder.read_log() if "signs" in line]
    # The data rows once, then samples of G.
    assert asked == [256] + [64] * -(-len(lines) // 3)
    assert "classes" not in lines[1]
    for evaluation in lines[:6:3]:
        # Two of four classes, as often: exp(log 2) / 4.
        assert evaluation["classes"] == pytest.approx(0.5, abs=0.02)
        # The features are the samples, moved and scaled, which a share of a distance does not see.
        assert evaluation["raw feature distance"] == pytest.approx(evaluation["raw distance"], abs=0.05)


def test_evaluations_wait_for_the_generator() -> None:
    """TimeGAN's first stages train other networks: samples there are those of initial weights, and no collapse."""
    family = build_family(
        "timegan", reduced(get_family("timegan"), "code-2019"), made(get_family("timegan"), "code-2019").spec
    )
    assert [plays(family, stage.name) for stage in family.stages()] == [False, False, True]
    for other in ("gan", "stargan2"):
        kind = get_family(other)
        family = build_family(other, reduced(kind, next(iter(kind.PRESETS))), made(kind, next(iter(kind.PRESETS))).spec)
        assert all(plays(family, stage.name) for stage in family.stages())


def test_the_log_has_signs_of_the_game_only(tmp_path: Path) -> None:
    kind = get_family("timegan")
    dataset, config = made(kind, "code-2019"), reduced(kind, "code-2019")
    settings = Settings(steps=16, report_kimg=config.batch_size / 1000)
    folder, feed = RunFolder(tmp_path), Feed(dataset.splits["train"], config.batch_size, 0)
    monitor = Monitor(Evaluator(dataset, 0, "cpu"), settings, folder, SILENT)
    Trainer(build_family("timegan", config, dataset.spec), feed, settings, folder, monitor=monitor).train(dataset.stats)
    lines = folder.read_log()
    assert {line["stage"] for line in lines} == {"embedding", "supervised", "joint"}
    assert {line["stage"] for line in lines if "signs" in line} == {"joint"}


@pytest.mark.parametrize(("rows", "held_out"), [(5, 1), (200, 30)])
def test_data_that_hardly_varies_is_examined_all_the_same(rows: int, held_out: int) -> None:
    x = np.zeros((rows, 2), np.float32)
    dataset = Dataset("still", "vector", {"train": Split(x), "valid": Split(x[:held_out])}, (), "0")
    found = Evaluator(dataset, 0, "cpu")._of_samples(torch.randn(512, 2))
    assert found == {"raw distance": 0.0, "raw distance error": 0.0}
    few = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    varied = Dataset("few", "vector", {"train": Split(few), "valid": Split(few[:1])}, (), "0")
    assert all(np.isfinite(number) for number in Evaluator(varied, 0, "cpu")._of_samples(torch.randn(512, 2)).values())
