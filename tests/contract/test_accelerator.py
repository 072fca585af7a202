"""What a GPU would have to wait for, seen without one: no step reads a number, sends one, or needs 64 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saddlepoint.data import feed as feeds
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed
from saddlepoint.data.spec import DataSpec
from saddlepoint.engine import compiled, updates
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.plan import Position
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.stats import Statistics
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Batch, Context, OptimizerSpec, Phase, Stage, Terms, build_family, families
from saddlepoint.nn.augment import TRANSFORMS
from tests.contract.accelerator import META, Watch, accelerator, watched
from tests.contract.presets import made, reduced
from tests.contract.toys import Scripted

__all__ = ["accelerator"]  # the fixture

LARGE = ("paper-ffhq-1024", "paper-celeba-hq-256", "ffhq-64", "ffhq-256")
"""Presets whose steps are those of others, with more layers."""

PRESETS = [
    pytest.param(name, preset, modality, marks=[pytest.mark.slow] if number or preset in LARGE else [])
    for name, kind in families().items()
    for preset in kind.PRESETS
    for number, modality in enumerate(kind.tags.modalities)
]
BATCH = 8
GATED = {("timegan", "code-2019"): {"gate": None}}
"""As released, D of this preset waits where its loss is low: that loss has to be read. Without it nothing is."""

EVERYTHING = {"augment": tuple(TRANSFORMS), "ada_kimg": 500.0}
LABELLED = {"conditional": True}
TABLE = DataSpec("sequence", (6, 3 + 2 + 3 + 1 + 2), ("a", "b", "c"), 40, (), 1, (), (2, 3), (0.25,), 2)
SEVERAL = DataSpec("image", (3, 16, 16), ("a", "b", "c", "d", "e"), 40, (0.2,) * 5, labelling=((2, 1), (2,)))
IMAGES = DataSpec("image", (3, 16, 16), ("a", "b", "c"), 40, (0.3, 0.3, 0.4))
BESIDE = [
    ("gan", "mnist", {"instance_noise": 0.1, "given": "left"}, IMAGES),
    ("gan", "mnist-2014", {"column_norm": 1.9}, IMAGES),
    ("dcgan", "paper", EVERYTHING | LABELLED, IMAGES),
    ("dcgan", "small", {"optimizer": "muon", "penalty_form": "finite-difference"} | LABELLED, IMAGES),
    ("dcgan", "small", {"discriminator_norm": "spectral", "simultaneous": False}, IMAGES),
    ("stylegan", "paper-ffhq-256", EVERYTHING | LABELLED, IMAGES),
    ("stylegan", "tiny-32", EVERYTHING | LABELLED, IMAGES),
    ("r3gan", "tiny-32", {"augment": tuple(TRANSFORMS)} | LABELLED, IMAGES),
    ("stargan", "tiny-32", {}, SEVERAL),
    ("stargan", "paper-celeba-128", {}, SEVERAL),
    ("timegan", "increments", LABELLED, TABLE),
    ("timegan", "paper-2019", {}, TABLE),
    ("vae", "small", {"likelihood": "logistic", "importance": 3}, IMAGES),
    ("vae", "small", {"likelihood": "gaussian"}, IMAGES),
    ("diffusion", "ddpm-cifar10", {"schedule": "cosine"} | LABELLED, IMAGES),
    ("diffusion", "small", {"times": "logit-normal"} | LABELLED, IMAGES),
    ("drifting", "small", LABELLED, IMAGES),
]
"""Options and data beside the presets that lead through other lines of a step."""


def rows_of(spec: DataSpec) -> Split:
    rng = np.random.default_rng(0)
    kind = np.uint8 if spec.modality == "image" else np.float32
    x = rng.integers(0, 2, (40, *spec.shape)).astype(kind)
    if spec.modality == "sequence":
        x[::2, -1] = np.nan  # half of the windows end before
    labels = rng.integers(0, 2, (40, len(spec.classes))) if spec.labelling else rng.integers(0, 3, 40)
    return Split(x, labels)


def trainer(name: str, preset: str, options: Mapping[str, Any], spec: DataSpec, rows: Split) -> Trainer:
    known = {field.name for field in dataclasses.fields(families()[name].Config)}
    unknown = set(options) - known - {"conditional"}
    assert not unknown, unknown
    config = reduced(families()[name], preset)
    config = dataclasses.replace(config, batch_size=BATCH, **{k: v for k, v in options.items() if k in known})
    return Trainer(build_family(name, config, spec), Feed(rows, BATCH, 0, META), Settings(), RunFolder("unused"))


def watch_steps(of: Trainer) -> Watch:
    """Return what was seen in a pass through every stage, in which every phase is due once at least.

    A first one is not looked at: constants are brought and momenta made then.
    """
    places = [Position(stage, at, 0) for stage in of.stages for at in sorted({phase.offset for phase in stage.cycle})]
    for place in places:
        of.step(place)
    with watched() as watch:
        for place in places:
            of.step(place)
    return watch


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(("name", "preset", "modality"), PRESETS)
def test_a_step_of_any_preset_makes_no_accelerator_wait(name: str, preset: str, modality: str) -> None:
    dataset = made(families()[name], preset, modality)
    options = GATED.get((name, preset), {})
    watch = watch_steps(trainer(name, preset, options, dataset.spec, dataset.splits["train"]))
    assert not watch.transfers
    assert not watch.wide


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(("name", "preset", "options", "spec"), BESIDE)
def test_nor_does_a_step_with_other_options_and_data(
    name: str, preset: str, options: Mapping[str, Any], spec: DataSpec
) -> None:
    watch = watch_steps(trainer(name, preset, options, spec, rows_of(spec)))
    assert not watch.transfers
    assert not watch.wide


@pytest.mark.usefixtures("accelerator")
def test_the_released_gate_is_the_one_place_that_reads() -> None:
    dataset = made(families()["timegan"], "code-2019")
    gated = trainer("timegan", "code-2019", {}, dataset.spec, dataset.splits["train"])
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        gated.step(Position(gated.stages[-1], 0, 0))


def faulty(fault: str) -> Scripted:
    """Return a family whose loss does what no step should."""

    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        values: Tensor = family.get_submodule("generator")(batch.x).squeeze(1)  # (batch,)
        if fault == "reads":
            values = values * float(values.detach().mean())
        elif fault == "chooses":
            values = values[values > 0]
        elif fault == "mixes":
            values = values + torch.ones(len(values))
        elif fault == "sends":
            values = values * torch.ones(len(values)).to(values.device)
        elif fault == "makes":
            values = values * torch.tensor([2.0], device=values.device)
        elif fault == "is wide":
            values = values.double().float()
        return Terms(values.square())

    stage = Stage("only", (Phase("fit", ("generator",), "adam"),))
    return Scripted({"generator": torch.nn.Linear(2, 1)}, (stage,), {"adam": OptimizerSpec("adam", lr=0.1)}, loss)


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("fault", ["none", "reads", "chooses", "mixes", "sends", "makes", "is wide"])
def test_planted_faults_are_seen(fault: str) -> None:
    family = faulty(fault)
    rows = rows_of(DataSpec("vector", (2,)))
    of = Trainer(family, Feed(rows, family.config.batch_size, 0, META), Settings(), RunFolder("unused"))
    if fault in ("reads", "chooses", "mixes"):
        with pytest.raises((RuntimeError, NotImplementedError)):
            watch_steps(of)
        return
    watch = watch_steps(of)
    assert bool(watch.transfers) == (fault in ("sends", "makes"))
    assert bool(watch.wide) == (fault == "is wide")


def test_counts_of_steps_lie_where_nobody_waits_for_them() -> None:
    """PyTorch reads them where it has no fused kernel: then they are the CPU's, also after a checkpoint."""
    for fused, place in ((("meta",), "meta"), ((), "cpu")):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(updates, "FUSED", fused)
            weight = torch.nn.Parameter(torch.zeros(3, device=META))
            spec = updates.OptimizerSpec("adam", lr=0.1)
            optimizer = updates.Optimizer(spec, {"net.weight": weight})
            optimizer.step([weight], [torch.ones(3, device=META)], updates.Progress())
            kept = optimizer.state_dict()
            assert kept["net.weight/step"].device.type == place
            assert kept["net.weight/exp_avg"].device == META
            optimizer.load_state_dict({key: torch.zeros(value.shape) for key, value in kept.items()})
            assert optimizer.state_dict()["net.weight/step"].device.type == place


class Reads(TorchFunctionMode):
    """Counts reads of numbers."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in ("tolist", "item", "__float__", "__bool__", "__int__")
        return func(*args, **(kwargs or {}))


def test_a_report_reads_all_means_at_once() -> None:
    statistics = Statistics(torch.device("cpu"))
    for name, values in {"b": [1.0, 2.0], "a": [4.0]}.items():
        for value in values:
            statistics.add(name, torch.tensor([value, value + 2]))
    with Reads() as reads:
        assert statistics.means() == {"a": 5.0, "b": 2.5}
    assert reads.count == 1
    assert Statistics(torch.device("cpu")).means() == {}


class Rows:
    """Rows on the CPU that note how they are sent."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.done: list[Any] = []

    def pin_memory(self) -> Rows:
        self.done.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> Rows:
        self.done.append((device.type, non_blocking))
        return self


@pytest.mark.parametrize(("kind", "expected"), [
    ("cuda", ["pinned", ("cuda", True)]), ("mps", [("mps", False)]), ("cpu", [("cpu", False)]),
])  # fmt: skip
def test_rows_that_stay_on_disk_are_sent_from_pinned_memory(kind: str, expected: Sequence[Any]) -> None:
    feed, rows = Feed(rows_of(DataSpec("vector", (2,))), BATCH, 0), Rows()
    feed.device = torch.device(kind)
    feed._sent(rows)  # type: ignore[arg-type]
    assert rows.done == expected


def test_a_gpu_holds_what_a_quarter_of_its_free_memory_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (400, 1000))
    assert feeds._most_resident(torch.device("cuda")) == 100
    assert feeds._most_resident(torch.device("mps")) == feeds.RESIDENT_LIMIT


def test_resident_rows_labels_and_their_order_are_on_the_device() -> None:
    feed = Feed(rows_of(IMAGES), BATCH, 0, META)
    feed.batch(0)
    with watched() as watch:
        batch = feed.batch(1)
    assert not watch.transfers
    assert batch.labels is not None
    assert (batch.x.device, batch.labels.device, feed.indices(2).device) == (META, META, META)


def test_times_of_compiled_networks_are_those_of_finished_work(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(compiled, "wait_for", lambda device: told.append(device.type))
    compiled._seconds(lambda: told.append("work"), torch.device("cuda"))
    assert told == ["cuda", "work", "cuda"] * 3


def test_fp32_is_fp32_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's default lets convolutions round to 10 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    try:
        torch.backends.cudnn.allow_tf32 = True
        runtime.use_device(torch.device("cpu"))
        assert torch.backends.cudnn.allow_tf32
        runtime.use_device(torch.device("cuda"))
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert chosen == []
        runtime.use_device(torch.device("cuda", 1))
        assert chosen == [torch.device("cuda", 1)]
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    ("kind", "wanted", "inside"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_deterministic_is_asked_of_gpus_alone_and_given_back(
    kind: str, wanted: bool, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with runtime.sums_in_one_order(torch.device(kind), wanted):
        assert torch.are_deterministic_algorithms_enabled() == inside
        assert torch.is_deterministic_algorithms_warn_only_enabled() == inside
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_sums_of_64_bits_only_where_they_are_known() -> None:
    kinds = {kind: Statistics(torch.device(kind))._dtype for kind in ("cpu", "cuda", "mps")}
    assert kinds == {"cpu": torch.float64, "cuda": torch.float64, "mps": torch.float32}
