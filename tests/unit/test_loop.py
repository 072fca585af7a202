"""The loop when things go wrong, and when they go as asked."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import CheckpointError, ConfigError, TrainingError
from saddlepoint.data.feed import Feed
from saddlepoint.data.spec import DataStats
from saddlepoint.engine import run_writer
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.distributed import ProcessGroup
from saddlepoint.engine.run_writer import RunWriter
from saddlepoint.engine.settings import SILENT, Observer, Settings
from saddlepoint.engine.storage.checkpoint import list_checkpoints, newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Batch, Context, OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.capabilities import Prepared
from tests.contract.toys import BATCH, Scripted, points

CYCLE = (Phase("D", ("discriminator",), "D"), Phase("G", ("generator",), "G"))


def quadratic(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
    network = family.generator if phase.name == "G" else family.discriminator
    return Terms(network(batch.x).square().sum(1), {"size": batch.x.norm(dim=1)})


def scripted(loss: object = quadratic, lr: float = 0.01) -> Scripted:
    networks = {"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)}
    spec = OptimizerSpec("sgd", lr=lr)
    return Scripted(networks, (Stage("main", CYCLE),), {"D": spec, "G": spec}, loss)  # type: ignore[arg-type]


def trainer(family: Scripted, folder: Path, observer: Observer = SILENT, **settings: object) -> Trainer:
    chosen = Settings(report_kimg=0.02, **settings)  # type: ignore[arg-type]
    return Trainer(family, Feed(points().splits["train"], BATCH, 0), chosen, RunFolder(folder), observer)


def test_the_first_limit_reached_ends_training(tmp_path: Path) -> None:
    for number, (limits, steps) in enumerate(
        [({"steps": 7, "kimg": 1.0}, 7), ({"steps": 100, "kimg": 0.04}, 10), ({"kimg": 0.041}, 11)]
    ):
        outcome = trainer(scripted(), tmp_path / str(number), **limits).train(points().stats)
        assert outcome.reason == "budget"
        assert outcome.progress.step == steps
        assert outcome.progress.nimg == steps * BATCH


def test_a_time_budget_ends_training(tmp_path: Path) -> None:
    outcome = trainer(scripted(), tmp_path, seconds=0.2).train(points().stats)
    assert outcome.reason == "budget"
    assert 0.2 <= outcome.seconds < 5
    again = trainer(scripted(), tmp_path, seconds=0.2).train(points().stats)
    assert again.progress.step == outcome.progress.step


def test_log_lines_hold_the_means_between_reports(tmp_path: Path) -> None:
    trainer(scripted(), tmp_path, steps=22).train(points().stats)
    lines = RunFolder(tmp_path).read_log()
    assert [line["step"] for line in lines] == [*range(1, 11), 15, 20]
    feed = Feed(points().splits["train"], BATCH, 0)
    sizes = torch.stack([feed.batch(draw).x.norm(dim=1).mean() for draw in range(20)]).double()
    assert lines[9]["size"] == pytest.approx(float(sizes[9]))
    assert lines[10]["size"] == pytest.approx(float(sizes[10:15].mean()))
    assert lines[11]["size"] == pytest.approx(float(sizes[15:].mean()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(number: signal.Signals, tmp_path: Path) -> None:
    def tick(progress: object, seconds: float, means: object) -> None:
        if getattr(progress, "step", 0) == 3:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    outcome = trainer(scripted(), tmp_path, Observer(tick=tick), steps=50).train(points().stats)
    assert outcome.reason == "interrupted"
    assert outcome.progress.step == 3
    assert signal.getsignal(number) is before
    found, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == 3


def test_a_second_signal_interrupts_at_once(tmp_path: Path) -> None:
    def tick(progress: object, seconds: float, means: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer(scripted(), tmp_path, Observer(tick=tick), steps=50).train(points().stats)


def test_a_loss_that_is_not_finite_stops_with_step_and_phase(tmp_path: Path) -> None:
    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        terms = quadratic(family, phase, batch, ctx)
        return Terms(terms.loss / (0.0 if ctx.progress.step == 6 and phase.name == "G" else 1.0))

    run = trainer(scripted(loss), tmp_path, steps=50, checkpoint_seconds=1e-9)
    with pytest.raises(TrainingError, match=r"step 6: the loss of phase 'G' is not finite"):
        run.train(points().stats)
    found, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == 6


class Poison(torch.autograd.Function):
    """A finite value with a gradient that is not."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


def test_a_gradient_that_is_not_finite_stops_with_the_tensors_name(tmp_path: Path) -> None:
    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        terms = quadratic(family, phase, batch, ctx)
        return Terms(Poison.apply(terms.loss) if ctx.progress.step == 6 and phase.name == "D" else terms.loss)

    run = trainer(scripted(loss), tmp_path, steps=50, checkpoint_seconds=1e-9)
    with pytest.raises(TrainingError, match=r"update of 'discriminator.weight' in phase 'D'.* is not finite"):
        run.train(points().stats)
    found, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert all(t.isfinite().all() for t in found.tensors["model"].values())


def test_divergence_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        trainer(scripted(lr=1e4), tmp_path, steps=1000).train(points().stats)


def test_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    real, calls = run_writer.write_checkpoint, []

    def flaky(*args: object) -> object:
        calls.append(1)
        if len(calls) in (2, 3):
            raise CheckpointError("the checkpoint could not be written: no space left")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run_writer, "write_checkpoint", flaky)
    run = trainer(scripted(), tmp_path, Observer(warn=said.append), steps=6, checkpoint_seconds=1e-9)
    assert run.train(points().stats).progress.step == 6
    assert len(said) == 2
    assert "training goes on" in said[0]
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step00000006", "step00000005"]


def test_a_log_that_cannot_be_written_is_said_at_reports_not_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from step 11 to 40: the six reports at 15, 20, ... 40 wait, and nothing is lost."""
    said: list[str] = []
    real = RunFolder.append_log

    def full(folder: RunFolder, line: Mapping[str, Any]) -> None:
        if line["step"] > 10 and run.state.step <= 40:
            raise OSError(28, "No space left on device")
        real(folder, line)

    monkeypatch.setattr(RunFolder, "append_log", full)
    run = trainer(scripted(), tmp_path, Observer(warn=said.append), steps=50)
    run.train(points().stats)
    assert said == ["the log could not be written (No space left on device); training goes on"] * 6
    assert [line["step"] for line in RunFolder(tmp_path).read_log()] == [*range(1, 11), *range(15, 51, 5)]


def test_a_family_sees_its_data_once_before_the_first_step_and_not_again_when_it_goes_on(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    steps: list[int] = []

    class Seeing(Scripted, Prepared):
        def prepare(self, stats: DataStats) -> None:
            seen.append((len(steps), len(stats.examples)))

    def counted(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        steps.append(1)
        return quadratic(family, phase, batch, ctx)

    def family() -> Seeing:
        networks = {"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)}
        spec = OptimizerSpec("sgd", lr=0.01)
        return Seeing(networks, (Stage("main", CYCLE),), {"D": spec, "G": spec}, counted)

    trainer(family(), tmp_path, steps=4).train(points().stats)
    assert [count for count, _ in seen] == [0]
    trainer(family(), tmp_path, steps=6).train(points().stats)
    assert len(seen) == 1


def test_only_the_process_that_writes_keeps_a_log_and_tells_of_it(tmp_path: Path) -> None:
    for rank in (0, 1):
        told: list[Mapping[str, Any]] = []
        folder = RunFolder(tmp_path / str(rank))
        folder.path.mkdir()
        writer = RunWriter(folder, 2, ProcessGroup(rank, 2, rank), Observer(report=told.append))
        writer.add({"step": 1}, {"step": 2})
        writer.add()
        assert [line["step"] for line in told] == [[1, 2], []][rank]
        assert [line["step"] for line in folder.read_log()] == [[1, 2], []][rank]


def test_the_last_checkpoint_must_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise CheckpointError("no space left")

    monkeypatch.setattr(run_writer, "write_checkpoint", full)
    with pytest.raises(CheckpointError, match="no space left"):
        trainer(scripted(), tmp_path, steps=3).train(points().stats)


def test_a_damaged_newest_checkpoint_costs_steps_not_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    straight = trainer(scripted(), tmp_path / "straight", steps=20)
    straight.train(points().stats)
    trainer(scripted(), tmp_path / "run", steps=10).train(points().stats)
    trainer(scripted(), tmp_path / "run", steps=15).train(points().stats)
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[0]
    (newest / "model.safetensors").write_bytes(b"rubbish")
    run = trainer(scripted(), tmp_path / "run", Observer(warn=said.append), steps=20)
    run.train(points().stats)
    assert "damaged" in said[0]
    assert torch.equal(run.state.family.generator.weight, straight.state.family.generator.weight)
    logs = [RunFolder(tmp_path / name).read_log() for name in ("straight", "run")]
    assert [line["step"] for line in logs[1]] == [*range(1, 11), 15, 20]
    assert [line["size"] for line in logs[0]] == [line["size"] for line in logs[1]]


def test_a_cut_off_log_line_is_dropped(tmp_path: Path) -> None:
    trainer(scripted(), tmp_path, steps=10).train(points().stats)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 12, "nim')
    trainer(scripted(), tmp_path, steps=15).train(points().stats)
    assert [line["step"] for line in RunFolder(tmp_path).read_log()] == [*range(1, 11), 15]


def test_two_trainers_in_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(CheckpointError, match="another process is training"),
        RunFolder(tmp_path).locked(),
    ):
        pass


def test_snapshots_come_from_the_same_inputs(tmp_path: Path) -> None:
    shots: dict[int, Tensor] = {}
    still = trainer(scripted(lr=1e-12), tmp_path, Observer(snapshot=shots.__setitem__), steps=25)
    still.train(points().stats)
    assert list(shots) == [*range(11), 20, 25]
    assert torch.allclose(shots[0], shots[25], atol=1e-6)


def damage(path: Path) -> None:
    (path / "training.safetensors").write_bytes(b"rubbish")


def test_a_damaged_checkpoint_does_not_count_among_those_kept(tmp_path: Path) -> None:
    """After it is set aside, shorter runs keep their own checkpoints although their steps are lower."""
    trainer(scripted(), tmp_path, steps=10).train(points().stats)
    trainer(scripted(), tmp_path, steps=20).train(points().stats)
    damage(list_checkpoints(tmp_path / "checkpoints")[0])
    trainer(scripted(), tmp_path, steps=12).train(points().stats)
    names = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert names == ["step00000012", "step00000010"]


def test_a_folder_with_damaged_checkpoints_only_is_refused_and_left_alone(tmp_path: Path) -> None:
    trainer(scripted(), tmp_path, steps=10).train(points().stats)
    log = (tmp_path / "log.jsonl").read_text()
    damage(list_checkpoints(tmp_path / "checkpoints")[0])
    with pytest.raises(CheckpointError, match="no checkpoint is whole"):
        trainer(scripted(), tmp_path, steps=12).train(points().stats)
    assert (tmp_path / "log.jsonl").read_text() == log
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 1


def test_samples_that_are_not_finite_stop_training_with_the_tensors_name(tmp_path: Path) -> None:
    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        terms = quadratic(family, phase, batch, ctx)
        return Terms(Poison.apply(terms.loss) if ctx.progress.step == 2 and phase.name == "G" else terms.loss)

    with pytest.raises(TrainingError, match=r"step 3: the update of 'generator.weight' in phase 'G'"):
        trainer(scripted(loss), tmp_path, steps=50).train(points().stats)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage("a", CYCLE), Stage("b", CYCLE)), "'a' has no end"),
        ((Stage("a", (Phase("D", ("discriminator",), "X"),)),), "names the optimizer 'X'"),
        ((Stage("a", (Phase("D", ("discriminator",), "D", every=0),)),), "due every 0"),
        ((Stage("a", (*CYCLE, Phase("D", ("generator",), "G"))),), "two phases are called 'D'"),
        ((Stage("a", (CYCLE[0], Phase("G", ("generator",), "G", fresh_batch=True)), simultaneous=True),), "no fresh"),
    ],
)
def test_an_update_order_that_cannot_be_carried_out_is_refused(
    stages: tuple[Stage, ...], message: str, tmp_path: Path
) -> None:
    family = scripted()
    family._stages = stages
    with pytest.raises(ConfigError, match=message):
        trainer(family, tmp_path)


def test_pictures_of_steps_that_are_made_again_go(tmp_path: Path) -> None:
    trainer(scripted(), tmp_path, steps=4).train(points().stats)
    samples = tmp_path / "samples"
    samples.mkdir(exist_ok=True)
    for name in ("step00000003.png", "step00000004.png", "step00000009.png", "stepmother.png"):
        (samples / name).write_bytes(b"")
    RunFolder(tmp_path).recover(lambda words: None)
    assert sorted(path.name for path in samples.iterdir()) == [
        "step00000003.png", "step00000004.png", "stepmother.png",
    ]  # fmt: skip


def test_a_process_that_joins_has_the_sums_of_the_others_at_zero(tmp_path: Path) -> None:
    first = trainer(scripted(), tmp_path, steps=25)
    first.train(points().stats)
    checkpoint, _ = newest_checkpoint(RunFolder(tmp_path).checkpoints)
    assert checkpoint is not None
    writer, joined = trainer(scripted(), tmp_path).state, trainer(scripted(), tmp_path).state
    writer.load(checkpoint)
    joined.load(checkpoint, rank=1)
    assert writer.statistics.state_dict()
    assert writer.statistics.state_dict().keys() == joined.statistics.state_dict().keys()
    assert not any(sums.any() for sums in joined.statistics.state_dict().values())
