"""What Python code may do while a family trains: callbacks that hear of it and may end it, and a line of progress.

class Curve(saddlepoint.Callback):
    def on_report(self, line):
        print(line["step"], line.get("V"))

saddlepoint.train("gan", "mnist", callbacks=[Curve()])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.engine.settings import SILENT, Means, Observer, Outcome
from saddlepoint.family import Progress
from saddlepoint.run.launch import Start, start
from saddlepoint.run.plan import Plan
from saddlepoint.run.run import Run

METHODS = ("on_start", "on_step", "on_report", "on_snapshot", "on_end")
"""What a callback may have."""


class StopTraining(Exception):
    """Raised by a callback to end training here: the state is saved, and the run counts as finished."""


class Callback:
    """What hears of a training: derive from it, and write the methods that you need.

    They run between steps, in the process that trains, and training waits for them. An exception ends training: the
    state is saved first, the run can go on (`resume`), and the exception is raised by `train`. `StopTraining` ends it
    without an error. The engine's random numbers are its own: a run is the same, bit for bit, with callbacks or none.
    """

    def on_start(self, start: Start) -> None:
        """All is loaded, the first step is next: ``start`` has folder, data, family, configuration, reading plan."""

    def on_step(self, progress: Progress) -> None:
        """A step was made: ``progress`` has step, nimg (samples seen) and epoch."""

    def on_report(self, line: Mapping[str, Any]) -> None:
        """A line was written to ``log.jsonl``, every 10 kimg and at milestones.

        It has step, nimg, stage, the means since the last line (losses, V, D(x), D(G(z))), timing, and where the doctor
        looked, signs and verdict; or ``event`` for a remedy, another number of threads, divergence.
        """

    def on_snapshot(self, step: int, samples: Tensor) -> None:
        """Samples of the averaged generator from the same inputs every time, (n, *sample), images in [-1, 1].

        At step 0, at steps with one significant digit (1, 2, ... 9, 10, 20, ...), and at the end.
        """

    def on_end(self, run: Run, outcome: Outcome) -> None:
        """Training ended, the state is saved: ``outcome`` has reason, progress and seconds."""


class Calls:
    """Tells callbacks what an observer hears, and remembers how they want training to end.

    Args:
        callbacks: in the order in which they are told.
        observer: hears everything, too.

    Raises:
        ConfigError: if one has no method of `Callback`, or one that is called almost like it.
    """

    def __init__(self, callbacks: Sequence[Callback], observer: Observer = SILENT) -> None:
        for place, callback in enumerate(callbacks):
            _check(place, callback)
        self.callbacks, self.inner = tuple(callbacks), observer
        self.error: Exception | None = None
        self.started = False
        self._ending: Literal["interrupted", "stopped"] | None = None

    def observer(self) -> Observer:
        """Return the observer for the engine."""
        return dataclasses.replace(
            self.inner,
            tick=self._tick if self._has("on_step") else self.inner.tick,
            snapshot=self._snapshot,
            report=self._report,
            ending=lambda: self._ending,
        )

    def announce(self, begun: Start) -> None:
        """Tell that training begins."""
        self.started = True
        self._tell("on_start", begun)

    def end(self, run: Run, outcome: Outcome) -> None:
        """Tell that training ended; raise what a callback raised."""
        if self.started:
            self._tell("on_end", run, outcome)
        if self.error is not None:
            raise self.error

    def _tick(self, progress: Progress, seconds: float, means: Means) -> None:
        self.inner.tick(progress, seconds, means)
        self._tell("on_step", progress)

    def _snapshot(self, step: int, samples: Tensor) -> None:
        self.inner.snapshot(step, samples)
        self._tell("on_snapshot", step, samples)

    def _report(self, line: Mapping[str, Any]) -> None:
        self.inner.report(line)
        self._tell("on_report", line)

    def _has(self, name: str) -> bool:
        return any(getattr(type(one), name, None) not in (None, getattr(Callback, name)) for one in self.callbacks)

    def _tell(self, name: str, *what: Any) -> None:
        """Call a method of all callbacks; after the first error none is called any more."""
        for callback in self.callbacks:
            method = getattr(callback, name, None)
            if method is None or self.error is not None:
                continue
            try:
                method(*what)
            except StopTraining as stop:
                self._ending = self._ending or "stopped"
                self.inner.say(f"stopped by {type(callback).__name__}.{name}{f': {stop}' if str(stop) else ''}")
            except Exception as error:  # of any kind: told after the state is saved
                error.add_note(f"raised by {type(callback).__name__}.{name}; training ended there, and was saved")
                self.error, self._ending = error, "interrupted"


def _check(place: int, callback: object) -> None:
    own = [name for name in dir(callback) if name.startswith("on_")]
    for name in own:
        if name not in METHODS:
            raise ConfigError(f"callbacks[{place}] has '{name}', which is never called; {suggest(name, METHODS)}")
    if isinstance(callback, type) or not own:
        given = f"the class {callback.__name__}" if isinstance(callback, type) else repr(callback)
        raise ConfigError(
            f"callbacks[{place}] is {given}, but it must be an object with methods of saddlepoint.Callback: "
            f"{', '.join(METHODS)}"
        )


def train_with(
    plan: Plan, callbacks: Sequence[Callback], observer: Observer, announce: Callable[[Start], None] | None = None
) -> Run:
    """Carry out a plan, telling callbacks and an observer of it.

    Raises:
        ConfigError: on an object that is no callback.
        Exception: what a callback raised, once the state is saved; and as `launch.start`.
    """
    calls = Calls(callbacks, observer)

    def begun(what: Start) -> None:
        if announce is not None:
            announce(what)
        calls.announce(what)

    run, outcome = start(plan, calls.observer(), announce=begun)
    calls.end(run, outcome)
    return run
