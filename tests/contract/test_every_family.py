"""What every registered family must do; a new family gets these tests by being registered."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import from_json, override, to_json
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine import profiles
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.machine.threads import AS_THEY_ARE, Threads
from saddlepoint.engine.plan import locate
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage import averages
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.training import TrainingState
from saddlepoint.engine.updates import Gradient, trained
from saddlepoint.family import Context, Family, Progress, build_family, families, get_preset
from saddlepoint.family.capabilities import DiscriminatorLogits, draw_labels, paper_presets, prepare, remedies
from saddlepoint.family.registry import is_built_in
from saddlepoint.run.kept_averages import KeptAverages
from tests.contract.presets import CASES, MIXED, made, quick_ones, reduced

VARIED = [
    *CASES, ("dcgan", "small:differences"), ("dcgan", "small:muon"), ("stylegan", "tiny-32:differences"),
    ("stylegan", "cifar10:differences"), ("stylegan", "tiny-32:muon"), ("timegan", "increments:differences"),
    ("timegan", "increments:starts"),
]  # fmt: skip
BATCH = 8


def build(name: str, preset: str, modality: str | None = None) -> tuple[Family, Dataset]:
    kind = families()[name]
    dataset = made(kind, preset, modality)
    config = dataclasses.replace(reduced(kind, preset), batch_size=BATCH)
    return build_family(name, config, dataset.spec), dataset


def state_of(name: str, preset: str) -> tuple[TrainingState, Feed, Dataset]:
    family, dataset = build(name, preset)
    state = TrainingState(family, 0, 40, torch.device("cpu"))
    prepare(family, dataset.stats())
    return state, Feed(dataset.splits["train"], BATCH, 0), dataset


def run(
    name: str, preset: str, folder: Path, steps: int, seed: int = 0, threads: Threads = AS_THEY_ARE
) -> TrainingState:
    family, dataset = build(name, preset)
    settings = Settings(seed=seed, steps=steps, report_kimg=3 * BATCH / 1000)
    feed = Feed(dataset.splits["train"], BATCH, seed)
    trainer = Trainer(family, feed, settings, RunFolder(folder), threads=threads)
    trainer.train(dataset.stats)
    return trainer.state


def tensors(state: TrainingState) -> dict[str, Tensor]:
    return {f"{file}/{n}": t for file, group in state.checkpoint().tensors.items() for n, t in group.items()}


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_configuration_survives_json(name: str, preset: str) -> None:
    kind = families()[name]
    config = kind.PRESETS[preset]
    assert from_json(kind.Config, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", families())
def test_unknown_option_is_refused_with_a_suggestion(name: str) -> None:
    kind = families()[name]
    _, config = get_preset(kind, None)
    with pytest.raises(ConfigError, match="did you mean 'batch-size'"):
        override(config, {"batch_sise": "3"})
    with pytest.raises(ConfigError, match="must be a whole number"):
        override(config, {"batch_size": "many"})


@pytest.mark.parametrize("name", families())
def test_every_field_says_what_it_means(name: str) -> None:
    assert all(field.metadata.get("help") for field in dataclasses.fields(families()[name].Config))


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_samples_have_shape_range_and_a_seed(name: str, preset: str) -> None:
    for modality in families()[name].tags.modalities:
        family, dataset = build(name, preset, modality)
        family.reset_parameters(stream("cpu", "weights", 0))
        prepare(family, dataset.stats())
        family.eval()

        def draw(seed: int, family: Family = family) -> Tensor:
            with torch.no_grad():
                labels = draw_labels(family, 5, stream("cpu", "labels"))
                z = family.sample_inputs(5, stream("cpu", seed))
                return family.generate(z, labels, generator=stream("cpu", "g"))

        samples = draw(1)
        assert samples.shape == (5, *dataset.spec.shape)
        assert samples.isfinite().all()
        if modality == "image":
            assert samples.abs().max() <= 1
        assert torch.equal(samples, draw(1))
        assert not torch.equal(samples, draw(2))


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_logits_are_one_number_a_sample_and_the_same_every_time(name: str, preset: str) -> None:
    """In evaluation mode, without gradients, without randomness; each row's does not depend on the others."""
    state, feed, _ = state_of(name, preset)
    family, batch = state.family.eval(), feed.batch(0)
    if not isinstance(family, DiscriminatorLogits):
        return
    with torch.no_grad():
        logits = family.logits(batch.x, batch.labels)
        assert logits.shape == (BATCH,)
        assert logits.isfinite().all()
        torch.manual_seed(1)
        assert torch.equal(logits, family.logits(batch.x, batch.labels))
        labels = None if batch.labels is None else batch.labels[:1]
        first = family.logits(batch.x[:1], labels)
        torch.testing.assert_close(first, logits[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_remedies_change_options_but_neither_networks_nor_batches(name: str, preset: str) -> None:
    kind = families()[name]
    assert set(paper_presets(kind)) <= set(kind.PRESETS)
    assert len({remedy.name for remedy in remedies(kind)}) == len(remedies(kind))
    config = reduced(kind, preset)
    spec = made(kind, preset).spec
    before = build_family(name, config, spec)
    for remedy in remedies(kind):
        assert remedy.verdicts
        assert set(remedy.verdicts) <= set(ALARMS)
        changed = remedy.change(config)
        if changed is None:
            continue
        assert changed != config
        assert changed.batch_size == config.batch_size
        assert from_json(kind.Config, json.loads(json.dumps(to_json(changed)))) == changed
        after = build_family(name, changed, spec)
        shapes = [{key: t.shape for key, t in f.state_dict().items()} for f in (before, after)]
        assert shapes[0] == shapes[1]
        kinds = [{key: s.kind for key, s in f.optimizers().items()} for f in (before, after)]
        assert kinds[0] == kinds[1]


@pytest.mark.parametrize(("name", "preset"), quick_ones(VARIED))
def test_loss_is_finite_per_sample(name: str, preset: str) -> None:
    state, feed, _ = state_of(name, preset)
    for stage in state.family.stages():
        for phase in stage.cycle:
            state.unfreeze([phase.name])
            ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress())
            terms = state.family.loss(phase, feed.batch(0), ctx)
            assert terms is not None
            assert terms.loss.shape in ((BATCH,), ())
            assert terms.loss.isfinite().all()
            assert all(not log.requires_grad for log in terms.logs.values())


@pytest.mark.parametrize(("name", "preset"), VARIED)
def test_each_phase_moves_what_it_trains_and_nothing_else(name: str, preset: str) -> None:
    family, dataset = build(name, preset)
    trainer = Trainer(family, Feed(dataset.splits["train"], BATCH, 0), Settings(), RunFolder("unused"))
    prepare(family, dataset.stats())
    state, feed = trainer.state, trainer.feed
    ever, regular = set[str](), set[str]()
    phases = [phase for stage in trainer.stages for phase in stage.cycle]
    # Twice: residual blocks whose last layer begins at 0 move their other layers from the second step on.
    for phase in phases * 2:
        before = {key: p.clone() for key, p in family.named_parameters()}
        state.unfreeze([phase.name])
        ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress())
        gradient = Gradient(phase)
        terms = trainer.losses((phase,), feed.batch(0), lambda ctx=ctx: ctx)
        trainer.accumulate(gradient, terms[phase.name], keep_graph=False)
        assert gradient.loss is not None
        trainer.apply([gradient])
        moved = {key for key, p in family.named_parameters() if not torch.equal(p, before[key])}
        own = trained(family, phase.trains)
        # A gradient is None, or 0, where a regulariser does not reach a bias, or a growing network not yet a layer.
        given = {key: g for key, g in zip(own, gradient.of_parameters, strict=True) if g is not None}
        assert {key for key, g in given.items() if bool(g.any())} <= moved <= set(given)
        # Of a family of your own a gradient may be 0 for good reason: that of the last bias, if all hinges are active.
        ever |= moved if is_built_in(type(family)) else set(given)
        regular |= set(own)
        if ever == regular and phase is phases[-1]:
            break
    assert ever == regular, "every parameter that is trained moves in some phase"


class Sums(TorchDispatchMode):
    """Notes sums whose terms PyTorch's threads add in the order in which they come: gradients of ``x[i]``.

    With a place named twice, bits differ from run to run; `index_select` and `F.embedding` add in one order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        told = [*args, *(kwargs or {}).values()]
        if func.overloadpacket.__name__ in ("index_put", "index_put_", "put_") and told[-1] is True:
            places = told[1] if isinstance(told[1], (list, tuple)) else [told[1]]
            rows = torch.stack([place.flatten() for place in places if place is not None], 1)
            if len(rows.unique(dim=0)) < len(rows):
                self.found.append(f"{func} of {tuple(told[0].shape)}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "preset"), VARIED)
def test_no_sum_depends_on_which_thread_comes_first(name: str, preset: str) -> None:
    family, dataset = build(name, preset)
    trainer = Trainer(family, Feed(dataset.splits["train"], BATCH, 0), Settings(), RunFolder("unused"))
    prepare(family, dataset.stats())
    with Sums() as sums:
        for stage in trainer.stages:
            position = locate((stage,), 0)
            assert position is not None
            trainer.step(position)
    assert not sums.found


class Rehearsing(Threads):
    """Threads that are looked at before every step."""

    def before_step(self, step: int, nimg: int, stage: str, rehearse: Callable[[], object]) -> list[dict[str, Any]]:
        for _ in range(2):
            rehearse()
            self.times += 1
        return []

    times = 0


@pytest.mark.parametrize(("name", "preset"), quick_ones(VARIED, defaults=True))
def test_timing_steps_leaves_no_trace_in_training(name: str, preset: str, tmp_path: Path) -> None:
    plain = run(name, preset, tmp_path / "plain", 7)
    threads = Rehearsing()
    timed = run(name, preset, tmp_path / "timed", 7, threads=threads)
    assert threads.times == 14
    one, two = tensors(plain), tensors(timed)
    assert one.keys() == two.keys()
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


@pytest.mark.parametrize(("name", "preset"), quick_ones(VARIED, later=MIXED))
def test_resumed_training_equals_straight_training(name: str, preset: str, tmp_path: Path) -> None:
    """13 + 4 steps are 17 steps, bit for bit: weights, averages of all lengths, optimizer, statistics, log lines.

    Reports come at steps 12 and 15, so the means of the steps in between must survive the stop at 13. Averages of other
    lengths are updated at steps 3, 6 ..., and thinned at 15, after the stop.
    """
    often = ((profiles, "INTERVAL", 3), (averages, "SPACING", 1), (profiles, "NUMBERS", (4,)))
    with pytest.MonkeyPatch.context() as patched:
        for place, constant, value in often:
            patched.setattr(place, constant, value)
        straight = run(name, preset, tmp_path / "straight", 17)
        run(name, preset, tmp_path / "resumed", 13)
        resumed = run(name, preset, tmp_path / "resumed", 17)
        _same_averages(name, straight, tmp_path)
    one, two = tensors(straight), tensors(resumed)
    assert one.keys() == two.keys()
    assert [key for key in one if not torch.equal(one[key], two[key])] == []
    logs = [(tmp_path / folder / "log.jsonl").read_text().splitlines() for folder in ("straight", "resumed")]
    # Lines agree letter by letter, except for the time that training took.
    before_timing = [[line.split(', "timing"')[0] for line in log] for log in logs]
    assert len(logs[0]) == 12
    assert before_timing[0] == before_timing[1]


def _same_averages(name: str, straight: TrainingState, tmp_path: Path) -> None:
    """Both runs keep the same moments, and what is rebuilt of a kept length is that length's average."""
    kept = [averages.list_averages(tmp_path / folder / "averages") for folder in ("straight", "resumed")]
    moments = [{step: path.read_bytes() for step, path in files.items() if step % 6 == 0} for files in kept]
    assert list(moments[0]) == [6, 12]
    assert moments[0] == moments[1]
    config = {"family": name, "options": {"batch_size": BATCH}, "settings": {}}
    made = KeptAverages(RunFolder(tmp_path / "resumed"), config, print).rebuilt(0.05, 15)
    own = straight.family.state_dict()
    assert {key: t.shape for key, t in made.items()} == {key: own[key].shape for key in made}
    assert all(torch.equal(value, tensors(straight)[f"profiles/0.05/{key}"]) for key, value in made.items())


@pytest.mark.parametrize(("name", "preset"), quick_ones())
def test_state_is_complete(name: str, preset: str, tmp_path: Path) -> None:
    """A checkpoint loaded into a fresh state makes it sample, and go on, like the state it was taken from."""
    state = run(name, preset, tmp_path, 4)
    checkpoint, problems = newest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert problems == {}
    family, _ = build(name, preset)
    other = TrainingState(family, 99, 40, torch.device("cpu"))
    other.load(checkpoint)
    for one_family in (state.family, other.family):
        one_family.eval()
    z, labels = state.family.sample_inputs(3, stream("cpu", 1)), draw_labels(state.family, 3, stream("cpu", 1))
    with torch.no_grad():
        pair = [f.generate(z, labels, generator=stream("cpu", 2)) for f in (state.family, other.family)]
    assert torch.equal(*pair)
    one, two = tensors(state), tensors(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    untrained, _, _ = state_of(name, preset)
    start = tensors(untrained)
    assert any(not torch.equal(one[key], start[key]) for key in start if key.startswith("averages/"))


@pytest.mark.parametrize(("name", "preset"), quick_ones(VARIED, defaults=True))
def test_training_does_not_touch_global_randomness(name: str, preset: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(name, preset, tmp_path / "a", 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("name", "preset"), quick_ones(defaults=True))
def test_another_seed_is_another_run(name: str, preset: str, tmp_path: Path) -> None:
    one = tensors(run(name, preset, tmp_path / "0", 2, seed=0))
    two = tensors(run(name, preset, tmp_path / "1", 2, seed=1))
    assert any(not torch.equal(one[key], two[key]) for key in one if key.startswith("model/"))


@pytest.mark.parametrize("name", families())
def test_average_follows_its_closed_form(name: str, tmp_path: Path) -> None:
    """After n steps the average is sum_i w_i p_i with the weights that the betas imply."""
    kind = families()[name]
    dataset = made(kind, next(iter(kind.PRESETS)))
    config = dataclasses.replace(get_preset(kind, None)[1], batch_size=BATCH, ema_half_life_kimg=0.02, ema_ramp=None)
    network = kind.averaged[0]
    history: list[dict[str, Tensor]] = []
    for steps in range(5):
        family = kind(config, dataset.spec)
        settings = Settings(steps=max(steps, 1))
        trainer = Trainer(family, Feed(dataset.splits["train"], BATCH, 0), settings, RunFolder(tmp_path / str(steps)))
        if steps == 0:
            prepare(family, dataset.stats())
        else:
            trainer.train(dataset.stats)
        history.append({k: p.detach().clone() for k, p in family.get_submodule(network).named_parameters()})
    beta = 0.5 ** (BATCH / 20)
    averaged = dict(trainer.state.averages.modules[network].named_parameters())
    for key, value in averaged.items():
        expected = beta**4 * history[0][key]
        for i in range(1, 5):
            expected = expected + (1 - beta) * beta ** (4 - i) * history[i][key]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n, k in families().items() if "vector" in k.tags.modalities])
def test_short_training_beats_the_untrained_model(name: str, tmp_path: Path) -> None:
    short_training_beats_the_untrained_model(name, tmp_path, 400)


def short_training_beats_the_untrained_model(name: str, folder: Path, steps: int) -> None:
    """On a shifted Gaussian, some hundred steps bring mean and spread of the samples near the data's."""
    kind = families()[name]
    x = (np.random.default_rng(0).normal(size=(2000, 2)) * [0.5, 1.0] + [2.0, -1.0]).astype(np.float32)
    labels = (x[:, 0] > 2).astype(np.int64)
    dataset = Dataset("normal", "vector", {"train": Split(x, labels)}, ("left", "right"), "0")
    config = dataclasses.replace(get_preset(kind, None)[1], batch_size=64)
    if name == "flow":  # of two numbers two steps make any Gaussian
        config = dataclasses.replace(config, flow_steps=2)  # type: ignore[call-arg]
    family = kind(config, dataset.spec)
    trainer = Trainer(family, Feed(dataset.splits["train"], 64, 0), Settings(steps=steps), RunFolder(folder))

    def distance() -> float:
        """2-Wasserstein distance between the Gaussians with the samples' and the data's moments, squared."""
        with torch.no_grad(), trainer.state.averages.applied() as averaged:
            z, asked = averaged.sample_inputs(2000, stream("cpu", 5)), draw_labels(averaged, 2000, stream("cpu", 7))
            y = averaged.generate(z, asked, generator=stream("cpu", 6)).numpy()
        return float(((y.mean(0) - x.mean(0)) ** 2).sum() + ((y.std(0) - x.std(0)) ** 2).sum())

    before = distance()
    trainer.train(dataset.stats)
    assert distance() < 0.1 * before
