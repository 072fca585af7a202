"""States of several processes: one training that two share, and a sweep of two workers."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from tests.e2e.campaign.place import Place, Plant, demand, nothing
from tests.e2e.campaign.states import SMALL, State, Training, newest, whole_steps

RANKS = 2


class Together(Training):
    """Two processes that train one run, each ended at any moment; both are started again."""

    name, needs, steps, resumable = "two ranks", (), 200, False
    length = 0.4
    modules = ("torch.distributed",)

    def words(self, place: Place) -> tuple[str, ...]:
        return ("train", "gan", "--data", "digits", "--no-report", "--checkpoint", "0.01s", *SMALL[:-2],
                "--threads", "1", "--steps", str(self.steps), "--out", str(place.run))  # fmt: skip

    def begin(self, place: Place, before: Plant = nothing) -> list[int]:
        """Start them as `torchrun` does: by the environment."""

        def plant(rank: int, port: str) -> None:
            _be(rank, port)
            before()

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        return [place.start(*self.words(place), before=lambda rank=rank: plant(rank, port)) for rank in range(RANKS)]

    def carried_out(self, place: Place, before: Plant = nothing) -> int:
        codes = [place.ended(child) for child in self.begin(place, before)]
        for said in place.saying[-RANKS:]:
            demand("Traceback" not in said.read_text(), f"a traceback: {said.read_text()[-600:]}")
        return max(codes)

    def working(self, place: Place, children: list[int]) -> None:
        """Wait until they have saved something."""
        before, deadline = newest(place.run), time.monotonic() + 60
        while newest(place.run) <= before:
            demand(time.monotonic() < deadline, "training never saved anything")
            demand(all(map(place.alive, children)), f"training ended by itself: {place.tail()}")
            time.sleep(0.002)

    def again(self, place: Place) -> None:
        started = time.monotonic()
        codes = [place.ended(child) for child in self.begin(place)]
        demand(codes == [0, 0], f"exit codes {codes}: {place.tail()}")
        place.recovered.append(time.monotonic() - started)
        demand(self.made(place) == self.reference(place), "the run is not that of processes that were never disturbed")

    def made(self, place: Place) -> Any:
        demand(self.steps in whole_steps(place.run), "the last step was not saved")
        return super().made(place)

    def keep_reference(self, place: Place) -> None:
        self.again_alone(place)
        (place.template / "made" / f"{self.name}.json").write_text(json.dumps(self.made(place)))

    def again_alone(self, place: Place) -> None:
        """Carry it out undisturbed."""
        codes = [place.ended(child) for child in self.begin(place)]
        demand(codes == [0, 0], f"exit codes {codes}: {place.tail()}")


def _be(rank: int, port: str) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip


class Sweeping(State):
    """A sweep that two workers share: two trials of a tiny game."""

    name, needs, room = "sweep", (), 100_000
    modules = ("saddlepoint.run.sweeps.sweep", "saddlepoint.figures.trials", "saddlepoint.cli.sweep_tables", "optuna")

    def words(self, place: Place) -> tuple[str, ...]:
        return (
            "sweep", "gan", "--preset", "points", "--data", str(place.template / "points.npy"), "--over", "lr=1e-3..1",
            "--trials", "2", "--seeds", "0", "--steps", "40", "--batch-size", "32", "--threads", "1", "--precision",
            "fp32", "--generator-widths", "16", "--discriminator-widths", "16", "--checkpoint", "0.05s", "--no-prune",
            "-n", "200", "--quiet", "--out", str(place.folder / "sweep"),
        )  # fmt: skip

    def begin(self, place: Place) -> list[int]:
        return [place.start(*self.words(place)) for _ in range(2)]

    def whole(self, place: Place, saved: int) -> None:
        """Every trial that the store knows as complete has its run, whole."""
        for number in self._complete(place):
            found, _ = newest_checkpoint(place.folder / "sweep" / "trials" / f"{number:04d}" / "checkpoints")
            demand(found is not None, f"lost: trial {number} is complete and has no run")

    def saved(self, place: Place) -> int:
        return len(self._complete(place))

    def _complete(self, place: Place) -> list[int]:
        """Return the numbers of complete trials in the journal, read as Optuna does."""
        path = place.folder / "sweep" / "journal.log"
        if not path.exists():
            return []
        return [trial.number for trial in _study(path).get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]

    def made(self, place: Place) -> Any:
        found = json.loads((place.folder / "sweep" / "summary.json").read_text())
        demand(found["at_work"] == 0, "a trial is still said to be at work")
        rows = [[t["number"], t["state"], t["values"], t["figure"], t["about"].get("step")] for t in found["trials"]]
        return json.loads(json.dumps(rows))


def _study(path: Path) -> Any:
    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def write_points(path: Path) -> None:
    """Write the rows of the sweep."""
    np.save(path, np.random.default_rng(0).normal(size=(600, 2)).astype("float32"))
