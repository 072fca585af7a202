"""Several processes that share a run: equal everywhere, equal to one process, stopped and resumed together."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.distributed import SINGLE_PROCESS
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.updates import Gradient
from saddlepoint.family import Context, Progress, build_family, families
from saddlepoint.family.capabilities import prepare
from saddlepoint.run import api
from tests.contract.presets import CASES, MIXED, made, quick_ones, reduced
from tests.e2e.beside import BATCH, train

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
STEPS = 20
"""As many as bring each stage, and each penalty that is seldom, of those in `LONG`."""

LONG = ("autoencoder", "stylegan", "stylegan1", "timegan")
FEW = 8
"""As many as bring each phase, a second epoch and two reports."""
QUIET = {
    "keep_input": 1.0, "keep_hidden": 1.0, "keep_probability": 1.0, "instance_noise": 0.0, "augment": (), "mixing": 0.0,
    "path_weight": 0.0, "deviation_group": 0,
}  # fmt: skip
"""Options that leave each sample's own z and noise as the only randomness."""
DRAWS = {"randn": torch.randn, "rand": torch.rand}
TOGETHER = ("rbm", "dbm", "diffusion", "drifting")
"""Families whose rows of a minibatch belong together: chains, times spread over it, samples that repel one another."""

ALONE = (("rbm", "paper"), ("diffusion", "game"))
"""Presets of these without: chains that begin at the rows, samples from noise alone."""
BATCH_NORMALISED = (("dcgan", "paper"), ("timegan", "code-2019"), ("timegan", "paper-2019"))
ROOT = Path(__file__).parents[2]


def launched(processes: int, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAUNCH, str(processes), "-m", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out + err


@pytest.fixture(scope="module")
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what two processes hold after training every case that is to be tested, and the first."""
    folder = tmp_path_factory.mktemp("together")
    here = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    calls = [item.callspec.params for item in here if "together" in item.fixturenames and hasattr(item, "callspec")]
    cases = {(call["name"], call["preset"]) for call in calls} | {CASES[0]}
    finished(launched(2, "tests.e2e.beside", str(folder), *(asked(*case) for case in cases)))
    return folder


def steps_of(name: str) -> int:
    return STEPS if name in LONG else FEW


def asked(name: str, preset: str) -> str:
    return f"{name}-{preset}:{steps_of(name)}"


@pytest.mark.parametrize(("name", "preset"), quick_ones(later=MIXED))
def test_all_processes_hold_the_same(name: str, preset: str, together: Path) -> None:
    first, second = (torch.load(together / f"{name}-{preset}-{rank}.pt") for rank in range(2))
    for file, group in first.items():
        assert all(torch.equal(tensor, second[file][key]) for key, tensor in group.items())


@pytest.mark.parametrize(("name", "preset"), quick_ones(later=MIXED))
def test_two_processes_are_one_with_two_shares(name: str, preset: str, together: Path, tmp_path: Path) -> None:
    """Steps of two processes are, bit for bit, those of one that goes through each minibatch in two pieces."""
    alone = train(name, preset, tmp_path, steps_of(name), SINGLE_PROCESS, 4).state.checkpoint()
    kept, _ = newest_checkpoint(together / f"{name}-{preset}" / "checkpoints")
    assert kept is not None
    for file in ("model", "averages", "profiles"):
        assert all(torch.equal(tensor, kept.tensors[file][key]) for key, tensor in alone.tensors[file].items())


def train_words(folder: Path, steps: int) -> list[str]:
    return [
        *("saddlepoint", "train", "gan", "--data", "digits", "--out", str(folder), "--generator-widths", "64,64"),
        *("--discriminator-widths", "32,32", "--batch-size", "32", "--checkpoint", "0.05s", "--steps", str(steps)),
    ]


def held(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint, _ = newest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    return {f"{file}/{key}": t for file, group in checkpoint.tensors.items() for key, t in group.items()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose second process was killed once there was a checkpoint."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    job = launched(2, *train_words(folder, 100_000))
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/step*/state.json")):
        assert job.poll() is None, "the job ended by itself"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.05)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    out, err = job.communicate(timeout=120)
    assert job.returncode != 0
    status = json.loads((folder / "status.json").read_text())
    # The launcher ends who is left, too: before it has noticed, or between its note and its word.
    assert status["state"] == "running" or "another process" in err + status["reason"], out + err
    return folder


@pytest.fixture(scope="module")
def straight(killed: Path) -> tuple[Path, str]:
    """Return a run of 60 steps more than the killed one has kept, by two processes too, and what they said."""
    folder = killed.with_name("straight")
    return folder, finished(launched(2, *train_words(folder, newest_step(killed) + 60)))


def test_a_killed_process_ends_the_job_and_the_job_resumes_bit_for_bit(
    killed: Path, straight: tuple[Path, str]
) -> None:
    steps = str(newest_step(straight[0]))
    finished(launched(2, "saddlepoint", "train", "--resume", str(killed), "--steps", steps))
    one, two = held(straight[0]), held(killed)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert one.keys() == two.keys()


def newest_step(folder: Path) -> int:
    checkpoint, _ = newest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    return checkpoint.step


def test_another_number_of_processes_goes_on_with_the_run(straight: tuple[Path, str], tmp_path: Path) -> None:
    """Two, then one: the count of samples and the schedules do not notice, and one voice speaks."""
    begun, told = straight
    assert told.count("trained:  ") == 1
    assert "remedies are off" in told
    steps = newest_step(begun) + 320  # a line of the log comes every 312
    run = api.resume(shutil.copytree(begun, tmp_path / "run"), steps=steps, threads=1)
    lines = [line for line in run.log if "event" not in line]
    assert [line["nimg"] for line in lines] == [32 * line["step"] for line in lines]
    assert run.step == steps
    assert newest_step(begun) < lines[-1]["step"] <= steps


def test_wrong_options_are_told_once(tmp_path: Path) -> None:
    job = launched(2, *train_words(tmp_path / "run", 10), "--batch-size", "33")
    _, err = job.communicate(timeout=120)
    assert job.returncode != 0
    assert err.count("batch_size is 33, but 2 processes share it") == 1


def test_a_share_is_equal_for_all() -> None:
    assert Settings().shares(64, 1) == 1
    assert Settings().shares(64, 4) == 4
    assert Settings(micro_batch=8).shares(64, 4) == 8
    with pytest.raises(ConfigError, match=r"batch_size is 64, but 3 processes .* multiple of 3"):
        Settings().shares(64, 3)
    with pytest.raises(ConfigError, match=r"micro_batch is 5, .* divisor of 32"):
        Settings(micro_batch=5).shares(64, 2)


@pytest.mark.parametrize(("name", "preset"), quick_ones())
def test_the_whole_minibatch_pulls_as_its_parts_do(name: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 x 4 samples give the gradients of 1 x 8, where no statistic of the minibatch enters and noise is the same."""
    # Targets of a translation are the labels of the minibatch in another order.
    targets = families()[name].tags.input == "image"
    together = name in TOGETHER and (name, preset) not in ALONE
    if targets or together or (name, preset) in BATCH_NORMALISED:
        assert largest_difference(name, preset, monkeypatch) > 1e-3, "batch statistics do enter"
    else:
        assert largest_difference(name, preset, monkeypatch) < 1e-4


def largest_difference(name: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the largest difference of a phase's gradient, as a share of its norm."""
    kind = families()[name]
    dataset = made(kind, preset)
    usual = reduced(kind, preset)
    quiet = {field: value for field, value in QUIET.items() if not isinstance(getattr(usual, field, ""), str)}
    config = dataclasses.replace(reduced(kind, preset), batch_size=BATCH, **quiet)
    gradients: list[list[Gradient]] = []
    for shares in (1, 2):
        family = build_family(name, config, dataset.spec)
        trainer = Trainer(
            family, Feed(dataset.splits["train"], BATCH, 0, shares=shares), Settings(), RunFolder("unused")
        )
        prepare(family, dataset.stats())
        found = []
        for phase in [phase for stage in trainer.stages for phase in stage.cycle]:
            trainer.state.unfreeze([phase.name])
            gradient = Gradient(phase)
            for share in range(shares):
                last = family.data.modality == "sequence"  # which have the batch as the last dimension
                for draw, real in DRAWS.items():
                    monkeypatch.setattr(torch, draw, Whole(real, shares, share, -1 if last else 0))
                ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress())
                terms = trainer.losses((phase,), trainer.feed.batch(0, share), lambda ctx=ctx: ctx)
                trainer.accumulate(gradient, terms[phase.name], keep_graph=False)
            monkeypatch.undo()
            gradient.average(SINGLE_PROCESS, shares)
            found.append(gradient)
        gradients.append(found)
    flat = [
        [torch.cat([g.flatten() for g in one.of_parameters if g is not None]) for one in found] for found in gradients
    ]
    return max(float((whole - parts).norm() / whole.norm()) for whole, parts in zip(*flat, strict=True))


class Whole:
    """Draws that do not depend on how a minibatch is shared: those of the whole one, of which a share gets its part."""

    def __init__(self, draw: Callable[..., Tensor], shares: int, share: int, dim: int) -> None:
        self.draw, self.shares, self.share, self.dim, self.calls = draw, shares, share, dim, 0

    def __call__(self, *shape: Any, **options: Any) -> Tensor:
        """Return what ``torch.randn`` or ``torch.rand`` would, of this shape."""
        size = list(shape[0] if isinstance(shape[0], tuple) else shape)
        size[self.dim] *= self.shares
        self.calls += 1
        return self.draw(*size, generator=stream("cpu", self.calls)).chunk(self.shares, self.dim)[self.share]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two network namespaces with a cable between them: to a program, two machines."""
    names = [f"saddle{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"10.93.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False) if shutil.which(
                "ip"
            ) else None
        pytest.skip(f"no network namespaces here (they need Linux, iproute2 and root): {error}")
    yield names
    for name in names:
        ip("netns", "delete", name)


def test_two_machines_are_two_processes(machines: list[str], together: Path, tmp_path: Path) -> None:
    """Across a network, the first case ends with the bits it has on one machine."""
    jobs = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
             "--nproc-per-node", "1", "--node-rank", str(rank), "--master-addr", "10.93.0.1", "--master-port", "29555",
             "-m", "tests.e2e.beside", str(tmp_path), asked(*CASES[0])],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"},
        )
        for rank, name in enumerate(machines)
    ]  # fmt: skip
    for job in jobs:
        finished(job)
    for rank in range(2):
        here, there = (torch.load(folder / f"{'-'.join(CASES[0])}-{rank}.pt") for folder in (together, tmp_path))
        for file, group in here.items():
            assert all(torch.equal(tensor, there[file][key]) for key, tensor in group.items())
