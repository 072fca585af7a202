"""What the peers of time series share: a clock that ends their training, and samples that are drawn in parts.

Nothing here needs saddlepoint: it runs with the Python that has the peers' packages (`series_adapters.py`).
"""

from __future__ import annotations

import abc
import contextlib
import json
import resource
import subprocess
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

MOST, PART = 10_000, 500
CURVE = 10


class Finished(Exception):
    """The clock has ended; training stops between two updates."""


class Clock:
    """Counts what a training does until its time is over.

    Time is that of the processor: what else a machine does takes nothing from a peer.

    Args:
        seconds: of this process, all its threads together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.updates, self.windows, self.passed, self.wall = seconds, 0, 0, 0.0, 0.0
        self.curve: list[tuple[float, int]] = [(0.0, 0)] * CURVE
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin; later calls change nothing."""
        self._began = self._began or (time.process_time(), time.monotonic())

    def tick(self, windows: int, loss: float | None = None) -> None:
        """Count an update on ``windows`` windows.

        Raises:
            Finished: if it was the last one.
        """
        assert self._began is not None, "the clock was not started"
        self.passed, self.wall = time.process_time() - self._began[0], time.monotonic() - self._began[1]
        self.updates, self.windows = self.updates + 1, self.windows + windows
        if loss is not None:
            tenth = min(CURVE - 1, int(CURVE * self.passed / self.seconds))
            total, count = self.curve[tenth]
            self.curve[tenth] = (total + loss, count + 1)
        if self.passed >= self.seconds:
            raise Finished

    def facts(self) -> dict[str, Any]:
        """Return how long it was, by processor and wall, how much it did, and the mean loss of each tenth of it."""
        curve = [total / count if count else None for total, count in self.curve]
        return {
            "seconds": round(self.passed, 1), "wall seconds": round(self.wall, 1), "updates": self.updates,
            "nimg": self.windows, "loss": curve,
        }  # fmt: skip


class Peer(abc.ABC):
    """Somebody else's generator.

    Args:
        root: PEERS_DIR.
        x: training windows.
        seed: of weights and of everything random in the training.
    """

    reduced: ClassVar[str] = ""
    """What a CPU forces to be less than its authors set."""

    def __init__(self, root: Path, x: np.ndarray, seed: int) -> None:
        self.root, self.x, self.seed = root, x, seed
        self.seed_all(seed)

    @abc.abstractmethod
    def train(self, clock: Clock) -> None:
        """Train until the clock raises `Finished`."""

    @abc.abstractmethod
    def draw(self, n: int) -> np.ndarray:
        """Return ``n`` samples in the units of the windows, as their scripts draw them, from global random numbers."""

    @abc.abstractmethod
    def state(self) -> Any:
        """Return what samples are drawn from."""

    @abc.abstractmethod
    def restore(self, state: Any) -> None:
        """Take over what `state` returned, without a training before."""

    @property
    @abc.abstractmethod
    def parameters(self) -> int:
        """Number of trained weights."""

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """Version of the package, or commit of the checkout."""

    def seed_all(self, seed: int) -> None:
        """Seed everything that it draws from."""
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - theirs draw from it

    def commit(self, folder: str) -> str:
        """Return the commit of a checkout in PEERS_DIR."""
        command = ["git", "rev-parse", "--short", "HEAD"]
        done = subprocess.run(command, cwd=self.root / folder, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"


def trained(peer: Peer, folder: Path, seconds: float) -> None:
    """Train, unless that is done, and keep what samples are drawn from."""
    kept, facts = folder / "trained.pt", folder / "training.json"
    if kept.exists():
        # Its own file, of lists, arrays and their objects.
        peer.restore(torch.load(kept, weights_only=False))
        return
    clock, began = Clock(seconds), time.monotonic()
    with contextlib.suppress(Finished):
        peer.train(clock)
    found = clock.facts() | {
        "seconds before": round(time.monotonic() - began - clock.wall, 1), "parameters": peer.parameters,
        "version": peer.version, "reduced": peer.reduced, "torch": torch.__version__,
    }  # fmt: skip
    facts.write_text(json.dumps(found, indent=1) + "\n")
    # Under its name only when it is whole.
    torch.save(peer.state(), folder / "trained.part")
    (folder / "trained.part").rename(kept)
    print(f"trained: {json.dumps(found)}", flush=True)


def drawn(peer: Peer, folder: Path) -> None:
    """Draw samples in parts, each by a seed of its own, and join them."""
    facts = json.loads((folder / "training.json").read_text())
    parts, n = [], min(MOST, len(peer.x))
    for at in range(0, n, PART):
        path = folder / f"samples-{at:05}.npy"
        if not path.exists():
            began = time.monotonic()
            peer.seed_all(1_000_003 * (peer.seed + 1) + at)
            with torch.no_grad():
                part = np.asarray(peer.draw(min(PART, n - at)), np.float32)
            np.save(folder / "part.npy", part)
            (folder / "part.npy").rename(path)
            facts["seconds of drawing"] = round(facts.get("seconds of drawing", 0) + time.monotonic() - began, 1)
            (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
        parts.append(np.load(path))
    samples = np.concatenate(parts)
    facts["outside"] = float(np.mean((samples < 0) | (samples > 1)))
    facts["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    np.save(folder / "part.npy", samples.clip(0, 1))
    (folder / "part.npy").rename(folder / "samples.npy")
