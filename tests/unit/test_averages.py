"""Averages of several lengths in a run: what is kept, what is made of it, what it may cost, what it is chosen by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine import profiles, run_writer
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.plan import Position
from saddlepoint.engine.power import LENGTHS, Profile, combination, gamma_of
from saddlepoint.engine.settings import Observer, Settings
from saddlepoint.engine.storage import averages
from saddlepoint.engine.storage.averages import kept_steps, list_averages, read_average, write_average
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation.choosing import judge_for
from saddlepoint.evaluation.sets import Subject
from saddlepoint.export import export_run
from saddlepoint.family import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.run.average import PRESENT, Trial, _verdict, average_run
from saddlepoint.run.kept_averages import KeptAverages
from tests.contract.toys import BATCH, Scripted, points

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


class Walking(Trainer):
    """A trainer that notes the generator's weights after every step."""

    def step(self, position: Position) -> None:
        super().step(position)
        self.history = [*getattr(self, "history", []), self.state.family.generator.weight.detach().clone()]


def walk(folder: Path, steps: int, observer: Observer | None = None, **settings: object) -> Walking:
    """Train a map of the plane by noisy pulls: a random walk of its weights, and a bias that stays."""
    generator = nn.Linear(2, 2)
    generator.bias.requires_grad_(False)
    family = Scripted(
        {"generator": generator},
        (Stage("main", (Phase("generator", ("generator",), "sgd"),)),),
        {"sgd": OptimizerSpec("sgd", lr=0.1)},
        lambda family, phase, batch, ctx: Terms(
            (family.generator.weight * torch.randn(2, 2, generator=ctx.generator)).sum()
        ),
    )
    dataset = points()
    trainer = Walking(
        family, Feed(dataset.splits["train"], BATCH, 0), Settings(steps=steps, **settings), RunFolder(folder),  # type: ignore[arg-type]
        observer or Observer(),
    )  # fmt: skip
    trainer.train(dataset.stats)
    return trainer


def exact(history: list[Tensor], interval: int, gamma: float) -> Tensor:
    """The power-function average of every ``interval``-th of the weights, in float64."""
    seen = history[interval - 1 :: interval]
    edges = (torch.arange(len(seen) + 1, dtype=torch.float64) / len(seen)) ** (gamma + 1)
    return sum((w * x.double() for w, x in zip(edges.diff(), seen, strict=True)), torch.zeros(2, 2).double())


CONFIG = {"options": {"batch_size": BATCH}, "settings": {"averages": "auto"}, "family": "gan"}


@pytest.mark.parametrize("interval", [1, 8])
def test_the_averages_of_a_run_are_the_weighted_sums(
    interval: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "INTERVAL", interval)
    trainer = walk(tmp_path, 203)
    assert trainer.state.profiles is not None
    kept = trainer.state.profiles.state_dict()
    for length in LENGTHS:
        expected = exact(trainer.history, interval, gamma_of(length))
        assert (kept[f"{length}/generator.weight"].double() - expected).abs().max() < 2e-6
        assert torch.equal(kept[f"{length}/generator.bias"], trainer.state.family.generator.bias)
    for step, path in list_averages(tmp_path / "averages").items():
        moment = read_average(path)
        for length in LENGTHS:
            expected = exact(trainer.history[:step], interval, gamma_of(length))
            assert (moment[f"{length}/generator.weight"].double() - expected).abs().max() < 2e-6


def test_any_length_of_a_run_is_made_of_them(tmp_path: Path) -> None:
    """Against brute force: exact where the profile was kept, near elsewhere, and what stood still stays bit for bit."""
    steps = 3000
    trainer = walk(tmp_path, steps)
    kept = KeptAverages(RunFolder(tmp_path), CONFIG, print)
    assert len(kept.steps) > 16
    assert kept.newest == steps
    history, interval = trainer.history, profiles.INTERVAL
    end = kept.steps[len(kept.steps) // 2]
    for at, lengths in ((steps, (0.02, 0.05, 0.07, 0.1, 0.14, 0.25)), (end, (0.05, 0.07, 0.1))):
        for length in lengths:
            found = kept.rebuilt(length, at)
            expected = exact(history[:at], interval, gamma_of(length))
            lag = (expected - history[at - 1].double()).square().mean().sqrt()
            error = (found["generator.weight"].double() - expected).square().mean().sqrt()
            assert error < (1e-6 if length in LENGTHS else 0.1 * lag), (at, length)
            assert torch.equal(found["generator.bias"], trainer.state.family.generator.bias)
    tracked = trainer.state.profiles
    assert tracked is not None
    assert torch.equal(kept.rebuilt(0.05, steps)["generator.weight"], tracked.state_dict()["0.05/generator.weight"])


@pytest.mark.parametrize("most", [8, 16, 32])
def test_moments_stay_even_and_bounded(most: int) -> None:
    for step in (0, 63, 64, 1000, 4096, 12_345, 1_000_000, 123_456_789):
        steps = kept_steps(step, 8, most)
        assert len(steps) <= most
        assert len(steps) >= most // 2 or steps.step == 64
        assert all(0 < kept <= step for kept in steps)
        # What is kept later was kept before: thinning takes away, it never asks for what is gone.
        assert {kept for kept in kept_steps(2 * step, 8, most) if kept <= step} <= set(steps)


def test_a_long_run_keeps_to_its_number_of_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between checkpoints, of which this run writes one alone."""
    monkeypatch.setattr(profiles, "INTERVAL", 1)
    monkeypatch.setattr(averages, "SPACING", 1)
    monkeypatch.setattr(profiles, "NUMBERS", (8,))
    counts: list[int] = []
    walk(tmp_path, 200, Observer(tick=lambda *_: counts.append(len(list_averages(tmp_path / "averages")))))
    assert max(counts) == 8
    assert list(list_averages(tmp_path / "averages")) == list(range(32, 200, 32))


def test_large_networks_keep_fewer_moments_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    family = walk(tmp_path / "small", 1).state.family
    size = profiles.bytes_of(family)
    assert size == 2 * 6 * 4
    for moments, most in ((32, 32), (31, 16), (15, 8), (7, None)):
        monkeypatch.setattr(profiles, "MOST_BYTES", moments * size)
        found, why = profiles.profiles_of(family, "auto")
        assert (found.most if found else None) == most
        assert bool(why) == (most is None)
        assert profiles.profiles_of(family, "off") == (None, "")
    forced, why = profiles.profiles_of(family, "on")
    assert forced is not None
    assert (forced.most, why) == (8, "")
    trainer = walk(tmp_path / "large", 100, Observer(say=told.append))
    assert trainer.state.profiles is None
    assert told == [
        "averages: only one length is kept: 8 moments of others would take 0.0 GB on disk; --averages on keeps them, "
        "for `saddle average`"
    ]
    assert not (tmp_path / "large" / "averages").exists()
    with pytest.raises(CheckpointError, match=r"networks are large.*--averages on"):
        KeptAverages(RunFolder(tmp_path / "large"), CONFIG, print)


def test_a_full_disk_loses_averages_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_writer, "write_average", full)
    warned: list[str] = []
    trainer = walk(tmp_path, 130, Observer(warn=warned.append))
    assert trainer.state.step == 130
    assert len(warned) == 2
    assert "averages of step 64 could not be kept (No space left on device); training goes on" in warned[0]


def test_on_a_nearly_full_disk_checkpoints_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for spare, number in ((15, 0), (17, 2)):
        left = usage._replace(free=spare * (2 * 6 * 4 + 8))  # two averages of six numbers, and the interval
        monkeypatch.setattr(run_writer.shutil, "disk_usage", lambda path, left=left: left)
        warned: list[str] = []
        walk(tmp_path / str(spare), 130, Observer(warn=warned.append))
        assert len(list_averages(tmp_path / str(spare) / "averages")) == number
        assert len(warned) == 2 - number
        assert len(list((tmp_path / str(spare) / "checkpoints").iterdir())) == 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: list[Callable[[Path], object]] = [
    flip,
    lambda p: p.write_bytes(p.read_bytes()[:-9]),
    lambda p: p.write_text(""),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_moment_is_left_out_and_told(damage: Callable[[Path], object], tmp_path: Path) -> None:
    walk(tmp_path, 600)
    damage(tmp_path / "averages" / "step00000128.safetensors")
    told: list[str] = []
    kept = KeptAverages(RunFolder(tmp_path), CONFIG, told.append)
    assert 128 not in kept.steps
    assert len(told) == 1
    assert "step00000128.safetensors is damaged" in told[0]
    assert kept.rebuilt(0.07, kept.newest)["generator.weight"].isfinite().all()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.tensor(8), "c": torch.tensor([True, False])}
    path = write_average(tmp_path / "averages", 7, tensors)
    assert [p.name for p in path.parent.iterdir()] == ["step00000007.safetensors"]
    assert all(torch.equal(value, tensors[name]) for name, value in read_average(path).items())


def test_thinning_takes_what_is_not_named_and_what_is_half_written(tmp_path: Path) -> None:
    for step in (8, 16, 24):
        write_average(tmp_path, step, {"a": torch.zeros(2)})
    (tmp_path / ".step00000032.safetensors-0f").write_text("half")
    (tmp_path / "note.txt").write_text("not ours")
    averages.thin_averages(tmp_path, {8, 24, 48})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "note.txt", "step00000008.safetensors", "step00000024.safetensors",
    ]  # fmt: skip
    averages.drop_averages(tmp_path, 8)
    assert list(list_averages(tmp_path)) == [8]


def test_a_run_that_began_without_them_goes_on_without(tmp_path: Path) -> None:
    """As runs of earlier versions do: an average of a power of time begins with the first step."""
    walk(tmp_path, 64, averages="off")
    assert not (tmp_path / "averages").exists()
    told: list[str] = []
    trainer = walk(tmp_path, 200, Observer(say=told.append))
    assert trainer.state.profiles is None
    assert told == ["averages: only one length is kept: this run began without others"]
    checkpoint, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert "profiles" not in checkpoint.tensors
    with pytest.raises(CheckpointError, match="keeps no averages of other lengths"):
        KeptAverages(RunFolder(tmp_path), CONFIG, print)


def test_averages_of_other_networks_are_refused(tmp_path: Path) -> None:
    trainer = walk(tmp_path, 16)
    assert trainer.state.profiles is not None
    saved = trainer.state.profiles.state_dict()
    wrong = (
        {name: value for name, value in saved.items() if name != "0.05/generator.bias"},
        {**saved, "0.05/generator.bias": torch.zeros(3)},
        {**saved, "interval": torch.tensor(0)},
    )
    for tensors in wrong:
        with pytest.raises(CheckpointError, match="belong to other networks"):
            trainer.state.profiles.load_state_dict(tensors)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averages") / "run"
    saddlepoint.train("gan", data="digits", steps=300, options=OPTIONS, threads=1, out=folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_length_is_made_and_used_like_a_run(run: Path, tmp_path: Path) -> None:
    found = average_run(run, 0.1)
    assert found.path == tmp_path / "run-average-0.1"
    assert found.off == 0
    made, source = saddlepoint.load(found.path), saddlepoint.load(run)
    checkpoint, _ = newest_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    own, last = made.family.state_dict(), source.family.state_dict()
    kept = {n.removeprefix("0.1/"): t for n, t in checkpoint.tensors["profiles"].items() if n.startswith("0.1/")}
    assert all(torch.equal(own[name], value) for name, value in kept.items())
    assert all(torch.equal(own[name], last[name]) for name in own.keys() - kept.keys())
    assert any(not torch.equal(own[name], last[name]) for name in kept)
    assert made.step == 296
    about = made.config["average"]
    assert (about["run"], about["length"], about["step"], about["nimg"]) == ("run", 0.1, 296, 296 * 16)
    assert json.loads((found.path / "config.json").read_text())["average"]["gamma"] == pytest.approx(6.94, abs=0.01)
    assert made.sample(3).shape == (3, 1, 8, 8)
    assert made.log != []
    report = made.evaluate(["fd"])
    assert report.label == "generator (average of length 0.1)"
    saved = export_run(made, "safetensors", tmp_path / "out")
    assert torch.equal(saddlepoint.load(saved).sample(3), made.sample(3))
    assert json.loads((saved / "config.json").read_text())["average"] == about
    with pytest.raises(CheckpointError, match="is an export"):
        saddlepoint.resume(found.path, steps=500)
    with pytest.raises(ConfigError, match="averaged weights only"):
        saddlepoint.load(found.path, averaged=False)


def test_an_end_is_moved_to_the_kept_moment_nearest_to_it(run: Path) -> None:
    told: list[str] = []
    found = average_run(run, 0.05, end=2.9, say=told.append)
    assert found.path is not None
    assert told == ["it ends at 3.072 kimg, the kept moment nearest to 2.9"]
    assert found.path.name == "run-average-0.05-at-3.072k"
    made = saddlepoint.load(found.path)
    moment = read_average(run / "averages" / "step00000192.safetensors")
    own = made.family.state_dict()
    assert all(torch.equal(own[name[5:]], value) for name, value in moment.items() if name.startswith("0.05/"))
    assert max(line["step"] for line in made.log) <= 192


def test_the_best_of_the_grid_is_made(run: Path) -> None:
    heard: list[Trial] = []
    found = average_run(run, threads=1, measured=heard.append)
    assert list(found.trials) == heard
    best = min(found.trials, key=lambda trial: trial.value)
    assert found.length == best.length
    assert f"best: {best.title}" in found.verdict or "present average" in found.verdict
    assert [trial.name for trial in found.trials][:2] == ["last weights", PRESENT]
    assert len(found.trials) > 5
    assert "validation images" in found.figure
    assert json.loads(json.dumps(found.to_json()))["verdict"] == found.verdict
    if found.path is not None:
        assert saddlepoint.load(found.path).config["average"]["chosen_by"] == found.figure


def test_of_equal_weights_none_is_made_and_chance_is_told() -> None:
    def trials(*values: tuple[str, float | None, float]) -> list[Trial]:
        return [Trial(name, length, value, 0.1) for name, length, value in values]

    stays = _verdict("", trials(("last weights", None, 3.0), (PRESENT, None, 1.0), ("0.1", 0.1, 2.0)))
    assert (stays.path, stays.length, stays.verdict) == (None, None, "best: the present average (1)")
    clear = _verdict("", trials(("last weights", None, 3.0), (PRESENT, None, 2.0), ("0.1", 0.1, 1.0)))
    assert (clear.length, clear.verdict) == (0.1, "best: length 0.1 (1); the present average has 2")
    near = _verdict("", trials(("last weights", None, 3.0), (PRESENT, None, 1.2), ("0.1", 0.1, 1.0)))
    assert near.verdict.endswith("has 1.2, within the error of the figure")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"length": 0.3}, "length is 0.3, but it must be from 0.01 to below 0.2887"),
        ({"length": 0.005}, "length is 0.005"),
        ({"length": float("nan")}, "length is nan"),
        ({"length": 0.1, "end": 100.0}, "end is 100 kimg, but averages are kept from 1.024 to 4.8 kimg"),
        ({"length": 0.1, "end": 0.1}, "end is 0.1 kimg"),
        ({"length": 0.1, "out": "."}, "'.' is there already"),
        ({"n": 0}, "n is 0"),
    ],
)
def test_what_cannot_be_made_is_refused(asked: dict[str, object], message: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        average_run(run, **asked)  # type: ignore[arg-type]
    assert not list(run.parent.glob("run-average*"))


def test_exports_and_short_runs_have_none(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is an export"):
        average_run(average_run(run, 0.05).path or "", 0.1)
    saddlepoint.train("gan", data="digits", steps=7, options=OPTIONS, threads=1, out=tmp_path / "short")
    with pytest.raises(CheckpointError, match=r"training was too short.*--averages on"):
        average_run(tmp_path / "short", 0.1)


def rows(modality: str) -> Dataset:
    """Rows of a modality in three splits, each of 400 rows drawn alike."""
    rng = np.random.default_rng(0)
    shape = {"image": (1, 8, 8), "vector": (2,), "sequence": (12, 2)}[modality]
    splits = {}
    for name in ("train", "valid", "test"):
        x = rng.normal(size=(400, *shape)).clip(-3, 3) / 6 + 0.5
        splits[name] = Split((x * 255).astype(np.uint8) if modality == "image" else x.astype(np.float32))
    return Dataset("made", modality, splits, (), "0")  # type: ignore[arg-type]


def sampler(dataset: Dataset) -> Subject:
    def draw(n: int, seed: int) -> Tensor:
        x = np.random.default_rng(seed).normal(size=(n, *dataset.spec.shape)) * 0.1
        return torch.from_numpy(x.clip(-1, 1) if dataset.modality == "image" else x + 0.5).float()

    return Subject("made", draw)


def corrupted(dataset: Dataset, split: str) -> Dataset:
    x = np.zeros_like(dataset.splits[split].x)
    return replace(dataset, splits={**dataset.splits, split: Split(x)}, fingerprint="1")


@pytest.mark.parametrize("modality", ["image", "vector", "sequence"])
def test_the_choice_sees_validation_rows_and_no_test_rows(modality: str) -> None:
    dataset = rows(modality)
    subject = sampler(dataset)
    figure = judge_for(dataset, 300).measure(subject)
    without = judge_for(corrupted(dataset, "test"), 300).measure(subject)
    assert (figure.value, figure.standard_error) == (without.value, without.standard_error)
    if modality != "sequence":  # whose validation rows are then of another time: training rows judge
        assert judge_for(corrupted(dataset, "valid"), 300).measure(subject).value != figure.value


def test_windows_of_another_time_do_not_judge() -> None:
    dataset = rows("sequence")
    assert "200 validation windows" in judge_for(dataset, 200).figure
    later = replace(dataset, splits={**dataset.splits, "valid": Split(dataset.splits["valid"].x + 0.4)})
    judge = judge_for(later, 300)
    assert "training windows" in judge.figure
    assert judge.notes == ("validation windows are of another time than training windows: training windows judge",)


def test_a_translation_that_does_nothing_is_not_the_best() -> None:
    """Classes that differ in brightness: within classes, leaving images as they are is far off."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    x = (rng.integers(0, 100, (400, 1, 8, 8)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    dataset = Dataset("made", "image", dict.fromkeys(("train", "valid", "test"), Split(x, labels)), ("a", "b"), "0")

    def subject(works: bool) -> Subject:
        def draw(n: int, seed: int) -> Tensor:
            asked = labels[:n] if works else 1 - labels[:n]
            return torch.from_numpy(x[np.arange(n)] * 0 + x[asked]).float() / 127.5 - 1

        return Subject("made", draw, labels=lambda n, seed: labels[:n], translate=lambda x, c, seed: x)

    judge = judge_for(dataset, 400)
    assert judge.measure(subject(True)).value < 0.2 * judge.measure(subject(False)).value


def test_few_validation_rows_choose_nothing() -> None:
    dataset = rows("image")
    few = replace(dataset, splits={**dataset.splits, "valid": Split(dataset.splits["valid"].x[:49])})
    with pytest.raises(DataError, match=r"49 validation rows.*name a length"):
        judge_for(few, 300)


def test_profiles_that_were_kept_are_found_as_they_are() -> None:
    kept = [Profile(gamma_of(length), float(step)) for step in (64, 128) for length in LENGTHS]
    assert combination(kept, Profile(gamma_of(0.1), 128.0))[1] == 0.0
