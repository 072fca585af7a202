"""What the engine is told, what it tells, and how a person interrupts it."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from saddlepoint.core.config import check
from saddlepoint.core.errors import ConfigError
from saddlepoint.family import Progress

if TYPE_CHECKING:
    from saddlepoint.engine.doctor.verdict import Diagnosis

Reason = Literal["budget", "stages", "interrupted", "stopped", "finished", "verdict"]
Means = Callable[[], dict[str, float]]


_MOST_SHOWN = 4096  # samples in a snapshot


@dataclass(frozen=True)
class Privacy:
    """What differential privacy is asked for: DP-SGD for D's updates; see `engine.privacy`.

    Attributes:
        clip: norm that the gradient of one pair of a row and a sample may have at most, > 0; infinity: any.
        delta: probability with which more than epsilon may be told, in (0, 1).
        noise_multiplier: standard deviation of the noise over ``clip``; None: not chosen yet.
        epsilon: what may be spent at most; None: no limit.
        updates: of D that the epsilon pays for; None: any number.
    """

    clip: float = 1.0
    delta: float = 1e-5
    noise_multiplier: float | None = None
    epsilon: float | None = None
    updates: int | None = None

    def __post_init__(self) -> None:
        check(self.clip > 0, "clip", self.clip, "positive")
        check(0 < self.delta < 1, "delta", self.delta, "in (0, 1)")
        noise, most = self.noise_multiplier, self.epsilon
        check(noise is None or 0 <= noise < math.inf, "noise_multiplier", noise, "0 or more")
        check(not noise or self.clip < math.inf, "clip", self.clip, "finite where there is noise, which goes with it")
        check(most is None or 0 < most < math.inf, "epsilon", most, "positive")

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise on a sum of clipped gradients."""
        return self.noise_multiplier * self.clip if self.noise_multiplier else 0.0


@dataclass(frozen=True)
class Settings:
    """What the engine must know beside the family.

    Attributes:
        seed: of weights, order of the data, noise and masks.
        steps, kimg, seconds: the budget: cycles, thousands of samples, training time; the first one spent ends
            training, None sets no limit.
        report_kimg: thousands of samples between log lines.
        checkpoint_seconds: time between checkpoints.
        keep: number of checkpoints kept.
        snapshot_samples: samples in a snapshot.
        remedy: auto: on an alarm that stands, change one thing where that is expected to pay; off: only tell.
        micro_batch: samples computed at once; a process goes through its part of a minibatch in such pieces and adds
            up their gradients. None: the whole part at once.
        precision: of matrix products: auto, fp32 or bf16.
        compile: compile the networks that pass a trial; it takes part of the budget.
        deterministic: on a GPU only what gives the same bits every time.
        stop_when: finished: end training when the doctor finds no more improvement; none: go on.
        averages: of lengths to be chosen after training: auto: kept where they take less than 1 GiB; on; off.
        freeze_discriminator: layers of D, from the sample on, that keep the weights they begin with.
        privacy: differential privacy; None: none. A mapping, as ``config.json`` has it, is taken too.
    """

    seed: int = 0
    steps: int | None = None
    kimg: float | None = None
    seconds: float | None = None
    report_kimg: float = 10.0
    checkpoint_seconds: float = 60.0
    keep: int = 2
    snapshot_samples: int = 64
    remedy: str = "off"
    stop_when: str | None = None
    micro_batch: int | None = None
    precision: str = "auto"
    compile: bool = False
    deterministic: bool = False
    averages: str = "auto"
    freeze_discriminator: int = 0
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        if isinstance(self.privacy, Mapping):
            object.__setattr__(self, "privacy", Privacy(**self.privacy))
        for name in ("steps", "kimg", "seconds", "micro_batch"):
            value = getattr(self, name)
            check(value is None or 0 < value < math.inf, name, value, "positive")
        for name in ("report_kimg", "checkpoint_seconds", "keep", "snapshot_samples"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        check(
            self.snapshot_samples <= _MOST_SHOWN, "snapshot_samples", self.snapshot_samples, f"at most {_MOST_SHOWN:,}"
        )
        for name in ("seed", "freeze_discriminator"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        check(self.averages in ("auto", "on", "off"), "averages", self.averages, "auto, on or off")

    def shares(self, batch_size: int, processes: int) -> int:
        """Return into how many equal parts a minibatch is divided: one or more for each process.

        Raises:
            ConfigError: if it cannot be divided so.
        """
        if batch_size % processes:
            raise ConfigError(
                f"batch_size is {batch_size}, but {processes} processes share it; choose a multiple of {processes}"
            )
        part = batch_size // processes
        piece = self.micro_batch or part
        if part % piece:
            raise ConfigError(
                f"micro_batch is {piece}, but each process has {part} samples; choose a divisor of {part}"
            )
        return batch_size // piece

    def spent(self, progress: Progress, seconds: float) -> bool:
        """Whether any limit of the budget is reached."""
        limits = ((self.steps, progress.step), (self.kimg, progress.nimg / 1000), (self.seconds, seconds))
        return any(limit is not None and used >= limit for limit, used in limits)

    def left(self, progress: Progress, seconds: float) -> float:
        """Return how many samples the budget still allows, at the speed so far; infinity without a limit."""
        limits = ((self.steps, progress.step), (self.kimg, progress.nimg / 1000), (self.seconds, seconds))
        # Each limit as a multiple of what was used of it; samples go with all of them.
        shares = [(limit - used) / used for limit, used in limits if limit is not None and used > 0]
        return max(0.0, min(shares, default=math.inf)) * progress.nimg


@dataclass(frozen=True)
class Observer:
    """What the floors above want to hear; each function may be left out.

    Attributes:
        tick: after every step: progress, seconds trained, and a function that reads the means since the last
            report (reading makes an accelerator wait, so not at every step).
        diagnosis: at reports: the doctor's verdict.
        snapshot: at milestones: the step, and samples drawn from the same inputs every time.
        report: every line that the log gets: at reports, and for events such as a remedy or another number of threads.
        ending: before every step: why training shall end now, or None; "interrupted" leaves a run that can go on,
            "stopped" a finished one.
        say: a line worth telling.
        warn: a line that must be seen.
    """

    tick: Callable[[Progress, float, Means], None] = lambda progress, seconds, means: None
    diagnosis: Callable[[Diagnosis], None] = lambda diagnosis: None
    snapshot: Callable[[int, Tensor], None] = lambda step, samples: None
    report: Callable[[Mapping[str, Any]], None] = lambda line: None
    ending: Callable[[], Literal["interrupted", "stopped"] | None] = lambda: None
    say: Callable[[str], None] = lambda message: None
    warn: Callable[[str], None] = lambda message: None


SILENT = Observer()
"""An observer that hears nothing."""


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        reason: the budget was spent, all stages were over, a signal came, the observer ended it (``stopped``), or
            nothing improved any more (``finished``); ``verdict`` only between the engine's own parts: a remedy is due.
        progress: where it stood.
        seconds: training time, over all processes that worked on the run.
    """

    reason: Reason
    progress: Progress
    seconds: float


def is_milestone(step: int) -> bool:
    """Whether samples are kept at ``step``: 0 and all numbers with one significant digit (... 9,000, 10,000, 20,000).

    >>> [step for step in range(31) if is_milestone(step)]
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30]
    """
    return step % 10 ** (len(str(step)) - 1) == 0


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM inside the block into an event; a second of its kind interrupts at once."""
    stop = threading.Event()
    # By kind: a launcher of several processes sends SIGTERM when it hears the Ctrl-C that they heard too.
    seen: set[int] = set()
    if threading.current_thread() is not threading.main_thread():  # Python lets no other one set handlers
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if number in seen:
            raise KeyboardInterrupt
        seen.add(number)
        stop.set()

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
