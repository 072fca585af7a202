"""What is disturbed: a state is what a command does, what it has saved, and how it is brought back.

A state knows its command, when that is at work, what must hold at once after a fault (`whole`), and what the same
command must come to afterwards (`again`), which is compared, bit for bit, with a command that was never disturbed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.engine.storage.checkpoint import (
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    step_of,
)
from saddlepoint.engine.storage.folder import RunFolder
from tests.e2e.campaign.place import Place, Plant, demand, nothing

SMALL = ("--generator-widths", "64,64", "--discriminator-widths", "32,32", "--batch-size", "32", "--threads", "1")
TRAIN = ("train", "gan", "--data", "digits", "--no-report", "--checkpoint", "0.01s", *SMALL)
STEPS = 144
"""Steps of the run that faults are put into."""

KNOWN = 500
"""Steps of the undisturbed run whose every state is known."""


class State:
    """What a command does.

    Attributes:
        name: in the table.
        needs: what is copied from the template into a place.
        reads: files of a checkpoint that it needs.
        modules: imported before processes are forked.
        length: seconds that the command takes undisturbed, from its start; measured with the template.
        source: what of the place it works on.
        writes: whether it writes anything.
        calls: that it makes of each kind when it saves, roughly.
        room: bytes on the disk that it writes; measured with the template.
        memory: bytes that it asks for beyond what a forked process has, roughly.
    """

    name = ""
    needs: tuple[str, ...] = ("run",)
    modules: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("model", "averages")
    calls = 8
    length = 60.0
    writes, resumable, source = True, False, "run"
    room, memory = 300_000, 60 * 2**20

    def words(self, place: Place) -> tuple[str, ...]:
        """Return the command."""
        raise NotImplementedError

    def bounded(self, place: Place) -> tuple[str, ...]:
        """Return a command that comes to an end by itself."""
        return self.words(place)

    def carried_out(self, place: Place, before: Plant = nothing) -> int:
        """Carry out a command that comes to an end by itself; return its exit code; a traceback is a broken rule."""
        return place.call(*self.bounded(place), before=before)

    def plants(self, place: Place) -> list[Plant]:
        """Return what is planted in each of its processes."""
        return []

    def begin(self, place: Place) -> list[int]:
        """Start it; return its processes."""
        return [place.start(*self.words(place))]

    def working(self, place: Place, children: list[int]) -> None:
        """Wait until it is at work."""

    def saved(self, place: Place) -> int:
        """Return how much is saved: a number that only grows."""
        return 0

    def least(self, place: Place) -> int:
        """Return how much was saved before the command began."""
        return 0

    def whole(self, place: Place, saved: int) -> None:
        """Demand that what was saved is there, and nothing is half there; how the fault left it."""

    def kept(self, place: Place) -> None:
        """Demand that all the command had made by its end is there."""
        try:
            there = self.made(place) == self.reference(place)
        except (SaddlepointError, OSError, ValueError, KeyError):  # nothing, or half of it
            there = False
        demand(there, "lost: the command had ended, and what it made is not there")

    def again(self, place: Place) -> None:
        """Bring it back: the command succeeds, and comes to what it would have come to."""
        place.succeeds(*self.words(place))
        demand(self.made(place) == self.reference(place), "the result is not that of an undisturbed command")

    def made(self, place: Place) -> Any:
        """Return what the command leaves, comparable."""
        raise NotImplementedError

    def reference(self, place: Place) -> Any:
        """Return what an undisturbed one left."""
        return json.loads((place.template / "made" / f"{self.name}.json").read_text())

    def keep_reference(self, place: Place) -> None:
        """Carry the command out undisturbed, and keep what it leaves and how long it takes."""
        before = taken(place.folder)
        started = time.monotonic()
        place.succeeds(*self.words(place))
        # Carried out twice: the first time it takes longer.
        self.length, self.room = min(self.length, time.monotonic() - started), taken(place.folder) - before
        (place.template / "made").mkdir(exist_ok=True)
        (place.template / "made" / f"{self.name}.json").write_text(json.dumps(self.made(place)))


class Training(State):
    """A run that trains from its beginning to a number of steps, saving all the time."""

    name, needs, steps, resumable = "train", (), 150, True
    calls = 40

    def words(self, place: Place) -> tuple[str, ...]:
        return (*TRAIN, "--steps", str(self.steps), "--out", str(place.run))

    def saved(self, place: Place) -> int:
        return newest(place.run)

    def whole(self, place: Place, saved: int) -> None:
        found, _ = newest_checkpoint(place.run / "checkpoints")
        step = found.step if found else 0
        demand(step >= saved, f"lost: step {saved} had been saved, the newest whole one is {step}")

    def made(self, place: Place) -> Any:
        found, _ = newest_checkpoint(place.run / "checkpoints")
        demand(found is not None, "nothing was saved")
        assert found is not None
        return [found.step, digest(found), lines(place.run)]


class Resuming(Training):
    """A run that goes on for an hour, saving all the time; it is ended by the fault."""

    name, needs = "resume", ("run",)
    reads = ("model", "averages", "training", "profiles")
    length = 0.3

    def words(self, place: Place) -> tuple[str, ...]:
        return ("train", "--resume", str(place.run), "--budget", "1h", "--threads", "1")

    def bounded(self, place: Place) -> tuple[str, ...]:
        steps = newest(place.run) + place.rng.randrange(20, 80)
        return ("train", "--resume", str(place.run), "--steps", str(steps), "--threads", "1")

    def working(self, place: Place, children: list[int]) -> None:
        """Wait until the process has saved something of its own."""
        before, deadline = newest(place.run), time.monotonic() + 60
        while newest(place.run) <= before:
            demand(time.monotonic() < deadline, "training never saved anything")
            demand(place.alive(children[0]), f"training ended by itself: {place.tail()}")
            time.sleep(0.002)

    def least(self, place: Place) -> int:
        return STEPS

    def kept(self, place: Place) -> None:
        pass

    def again(self, place: Place) -> None:
        found, _ = newest_checkpoint(place.run / "checkpoints")
        step = (found.step if found else 0) + 2
        place.succeeds("train", "--resume", str(place.run), "--steps", str(step), "--threads", "1")
        demand(step in whole_steps(place.run), "the steps after the fault were not saved")
        if known := known_digests(place).get(step):
            path = place.run / "checkpoints" / f"step{step:08d}"
            demand(digest(read_checkpoint(path)) == known, f"step {step} is not that of a run that was never disturbed")

    def keep_reference(self, place: Place) -> None:
        """Nothing: every state of the undisturbed run is known."""


class Remedying(Training):
    """A run whose loss is not a number after 40 and after 70 steps: the doctor goes back, each time with a remedy."""

    name, needs, steps = "remedy", (), 110

    def plants(self, place: Place) -> list[Plant]:
        def plant() -> None:
            from saddlepoint.engine.loop import Trainer

            real = Trainer.step

            def step(self: Trainer, position: Any) -> None:
                done = sum(line.get("event") == "rollback" for line in self.folder.read_log())
                if self.state.step == (40, 70, 10**9)[min(done, 2)]:
                    self.stop_non_finite("a loss that was planted")
                real(self, position)

            Trainer.step = step  # type: ignore[method-assign]

        return [plant]

    def whole(self, place: Place, saved: int) -> None:
        if not (place.run / "rollback.json").exists():  # else it is announced that later checkpoints are given up
            super().whole(place, saved)

    def made(self, place: Place) -> Any:
        story = json.loads((place.run / "remedies.json").read_text())
        demand(len(story) == 2, f"{len(story)} remedies were carried out, not 2")
        return [*super().made(place), story]


def train_undisturbed(place: Place, steps: int) -> None:
    """Train once without a stop, and note the bits of the state after every step."""

    def plant() -> None:
        from saddlepoint.engine.run_writer import RunWriter

        real = RunWriter._write

        def note(self: RunWriter, checkpoint: Checkpoint) -> None:
            if checkpoint.step == steps:
                real(self, checkpoint)
            with (place.template / "digests").open("a") as file:
                file.write(f"{checkpoint.step} {digest(checkpoint)}\n")

        RunWriter._write = note  # type: ignore[method-assign]

    words = [word if word != "0.01s" else "0.000001s" for word in TRAIN]
    out = place.outside / "known"
    demand(place.call(*words, "--steps", str(steps), "--out", str(out), before=plant) == 0, place.tail())


def taken(folder: Path) -> int:
    """Return how many bytes of a disk the files below a folder take."""
    return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


def newest(run: Path) -> int:
    """Step of the newest checkpoint by its name."""
    return max((step_of(path) for path in list_checkpoints(run / "checkpoints")), default=0)


def whole_steps(run: Path) -> set[int]:
    """Return the steps of all whole checkpoints."""
    found = set()
    for path in list_checkpoints(run / "checkpoints"):
        with suppress(Exception):
            found.add(read_checkpoint(path).step)
    return found


def digest(checkpoint: Checkpoint) -> str:
    """Return a digest of every bit that training goes on from."""
    found = hashlib.sha256(str(checkpoint.facts.get("nimg")).encode())
    for file, tensors in sorted(checkpoint.tensors.items()):
        for name, tensor in sorted(tensors.items()):
            found.update(f"{file} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def known_digests(place: Place) -> dict[int, str]:
    """Return the digests of the undisturbed run by step."""
    rows = (line.split() for line in (place.template / "digests").read_text().splitlines())
    return {int(step): word for step, word in rows}


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the log of a run without times."""
    found = RunFolder(run).read_log()
    return [json.loads(json.dumps({k: v for k, v in line.items() if k != "timing"})) for line in found]


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()[:32] for p in paths}


def is_root() -> bool:
    """Whether file systems can be mounted."""
    return os.geteuid() == 0
