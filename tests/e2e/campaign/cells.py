"""Which kind of fault is put into which state, how often, and what becomes of one."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saddlepoint.core.errors import SaddlepointError
from tests.e2e.campaign import bits, commands, machines, power, services, several, signals, states
from tests.e2e.campaign.place import Broken, Missed, Place
from tests.e2e.campaign.states import State
from tests.e2e.campaign.template import fresh

Kind = Callable[[Place, State], None]

STATES: dict[str, State] = {
    state.name: state
    for state in (
        states.Training(), states.Resuming(), states.Remedying(), commands.Averaging(), commands.Evaluating(),
        commands.Exporting(), commands.Sampling(), commands.Translating(), several.Sweeping(), services.Serving(),
        services.Studying(), several.Together(),
    )
}  # fmt: skip

KINDS: dict[str, Kind] = {
    "killed": signals.killed,
    "asked to end": signals.terminated,
    "killed while saving": signals.killed_while_saving,
    "power lost": power.power_lost,
    "disk full": machines.disk_full,
    "file size limit": machines.size_limited,
    "read-only": machines.read_only,
    "clock jumps": machines.clock_jumps,
    "memory short": machines.memory_short,
    "two at once": machines.two_at_once,
    "download cut": machines.download_cut,
    "checkpoint damaged": bits.checkpoint_damaged,
    "run damaged": bits.run_damaged,
    "cache damaged": bits.cache_damaged,
    "average damaged": bits.average_damaged,
    "export damaged": bits.export_damaged,
    "served export damaged": bits.served_export_damaged,
    "healthy checkpoint damaged": bits.healthy_damaged,
    "journal torn": bits.journal_torn,
}

_ALL = tuple(STATES)
_ENDING = tuple(name for name in STATES if name not in ("serve", "studio", "two ranks"))
_MAKING = ("average", "evaluate", "export", "sample", "translate")


def _each(states: tuple[str, ...], count: int, **other: int) -> dict[str, int]:
    return {name: other.get(name.replace(" ", "_"), count) for name in states}


COUNTS: dict[str, dict[str, int]] = {
    "killed": _each(_ALL, 15, resume=50, train=20, remedy=12, evaluate=10, sweep=8, studio=5, two_ranks=15),
    "asked to end": _each(_ALL, 8, resume=15, evaluate=5, remedy=6, sweep=3, studio=3, two_ranks=5),
    "killed while saving": _each(_ENDING, 12, resume=40, train=15, evaluate=6, remedy=8, sweep=4),
    "power lost": _each(_ENDING, 40, resume=120, train=30, remedy=15, evaluate=15, sweep=10),
    "disk full": _each(_ALL, 10, resume=15, evaluate=5, remedy=5, sweep=3, studio=0, two_ranks=0),
    "file size limit": _each(("train", "resume", "average", "export", "sample"), 8, resume=15),
    "read-only": _each(_ALL, 4, evaluate=3, remedy=3, sweep=2, studio=2, two_ranks=0),
    "clock jumps": _each(_ALL, 4, resume=8, evaluate=3, remedy=3, sweep=2, studio=2, two_ranks=3),
    "memory short": _each(("train", "resume", "average", "evaluate", "translate"), 5, resume=10),
    "two at once": _each(_ENDING, 6, resume=12, evaluate=4, remedy=4, sweep=3),
    "download cut": {"train": 12},
    "checkpoint damaged": _each(("resume", *_MAKING, "serve"), 8, resume=25),
    "run damaged": _each(("resume", *_MAKING), 5, resume=12),
    "cache damaged": {"train": 8, "evaluate": 5},
    "average damaged": {"average": 12},
    "export damaged": {"export": 12},
    "served export damaged": {"serve": 8},
    "healthy checkpoint damaged": {"remedy": 8},
    "journal torn": {"sweep": 4},
}
"""How many faults of each kind are put into each state."""


@dataclass(frozen=True)
class Cell:
    """A kind of fault in a state, and how many there are of it."""

    kind: str
    state: str
    count: int

    @property
    def name(self) -> str:
        """As it is asked for, and kept."""
        return f"{self.kind}-{self.state}".replace(" ", "-")


CELLS = tuple(Cell(kind, state, count) for kind, states in COUNTS.items() for state, count in states.items() if count)

TRIES = 8


@dataclass(frozen=True)
class Fault:
    """What became of one fault.

    Attributes:
        seed: that it was drawn from.
        lost: whether something that had been saved was gone.
        problem: which rule was broken; empty: none.
        recovery: seconds from the restart until the command had done what it was disturbed in, without Python's start.
        seconds: that the fault took in all.
    """

    seed: int
    lost: int
    problem: str
    recovery: float
    seconds: float


def inject(kind: str, state: str, seed: int, template: Path) -> Fault:
    """Put one fault into a state; one that comes too late is drawn again."""
    started = time.monotonic()
    for attempt in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="saddlepoint-fault-", dir=template.parent) as name:
            rng = random.Random(f"{kind} {state} {seed} {attempt}")
            place, problem = fresh(STATES[state], Path(name), template, rng), ""
            place.attempt = attempt
            try:
                KINDS[kind](place, STATES[state])
            except Missed:
                if attempt + 1 < TRIES:
                    continue
                problem = f"it came too late {TRIES} times"
            except Broken as broken:
                problem = str(broken)
            except (SaddlepointError, OSError, ValueError, KeyError) as error:  # what is looked at is not whole
                problem = f"half there: {error!r}"
        break
    recovery = max(place.recovered, default=0.0)
    lost = int(problem.startswith("lost"))
    return Fault(seed, lost, problem, round(recovery, 3), round(time.monotonic() - started, 3))
