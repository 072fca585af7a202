"""What a person sees while a family trains: a live line on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.status import Status
from rich.text import Text

from saddlepoint.cli import waiting
from saddlepoint.cli.console import LiteralConsole
from saddlepoint.cli.tables import brief_reading
from saddlepoint.core.quoting import for_terminal
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.plan import early_stage
from saddlepoint.engine.settings import Means, Observer, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.standing import Standing as At
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.run.progress import figures, remaining
from saddlepoint.run.show import sizes

if TYPE_CHECKING:
    from saddlepoint.family import Progress as Standing
    from saddlepoint.family import Stage
    from saddlepoint.run.api import Start

_LIVE_SECONDS = 0.25
_LINE_SECONDS = 10.0
_SHOWN = {
    "V": "V", "D(x)": "D(x)", "D(G(z))": "D(G(z))", "class accuracy": "class accuracy", "cycle error": "cycle error",
    "cycle error (latent)": "cycle error", "diversity (latent)": "diversity",
}  # fmt: skip
"""Figures of the log and what they are called in the line; the last ones say what a translation is worth."""


class Measuring:
    """Shows what an evaluation is at: on a terminal one line that changes, elsewhere a line for each figure.

    Args:
        quiet: say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = LiteralConsole(stderr=True, soft_wrap=True)
        self._status: Status | None = None

    def __enter__(self) -> Measuring:
        if self.console.is_terminal and not self.quiet:
            self._status = self.console.status("reading the data ...")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """Tell a line that stays."""
        if not self.quiet:
            self.console.print(line)

    def detail(self, line: str) -> None:
        """Tell a line that the next one replaces; nothing where lines stay."""
        if self._status is not None:
            self._status.update(Text(for_terminal(line)))


class Display:
    """Shows kimg, samples/s, time left, V(D, G), mean D(x) and mean D(G(z)) of the recent steps, and the verdict.

    Of translation also the share that D's classifier reads as the domain asked for, and the cycle error.

    Args:
        settings: the budget, for the time left.
        quiet: say nothing but warnings.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        self.settings, self.quiet = settings, quiet
        self.console = LiteralConsole(stderr=True, soft_wrap=True)
        self.live = self.console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.fields[left]}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self._task = self._bar.add_task("starting", total=1.0, left="")
        self._next = 0.0
        self._first: tuple[float, int] | None = None
        self._means: dict[str, float] = {}
        self._verdict = ""
        self._stages: Sequence[Stage] = ()
        self.began: At | None = None

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def observer(self) -> Observer:
        """Return the observer that feeds this display."""
        return Observer(tick=self.tick, diagnosis=self.diagnosis, say=self.say, warn=self.warn)

    def say(self, line: str) -> None:
        """Print one line."""
        waiting.said()
        if not self.quiet:
            self.console.print(line)

    def warn(self, line: str) -> None:
        """Print one line even if quiet."""
        waiting.said()
        self.console.print(f"warning: {line}")

    def announce(self, start: Start) -> None:
        """Say what is about to be trained, on what, where; of a run that goes on, what of its budget is left."""
        self.began = standing_of(RunFolder(start.folder)) if start.resumed else None
        self._stages = start.family.stages()
        if self.quiet:
            return
        config, spec = start.config, start.dataset.spec
        rows = f"{spec.rows:,} {spec.modality}s of {'x'.join(str(side) for side in spec.shape)}"
        self.say(f"data:     {start.dataset.name}, {rows}")
        for line in brief_reading(start.reading):
            self.say(f"          {line}")
        self.say(f"family:   {config['family']}, preset {config['preset']}; {sizes(start.family)}")
        self.say(f"machine:  {config['device']}, {_threads(config)}, seed {config['settings']['seed']}")
        self.say(f"run:      {start.folder}{' (going on)' if start.resumed else ''}; Ctrl-C stops and saves")
        self.say(f"pictures: {start.folder / 'samples'}: the newest one shows how far it is")
        if self.began is not None and not self.began.spent(self.settings):
            self.say(f"budget:   {self.began.summary(self.settings)} (limits count from the run's beginning)")
        if self.live:
            self._bar.start()

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Remember the doctor's verdict for the line."""
        self._verdict = diagnosis.verdict

    def tick(self, at: Standing, seconds: float, means: Means) -> None:
        """Refresh the line if it is time to."""
        now = time.monotonic()
        started, nimg = self._first = self._first or (now, at.nimg)
        if self.quiet or now < self._next:
            return
        self._next = now + (_LIVE_SECONDS if self.live else _LINE_SECONDS)
        self._means = means() or self._means
        speed = (at.nimg - nimg) / (now - started) if now > started else 0.0
        share, left = remaining(self.settings, at, seconds, speed)
        told = "  ".join(f"{name} {value:.3f}" for name, value in figures(self._means, _SHOWN))
        early = early_stage(self._stages, at.step)
        words = (f"{at.nimg / 1000:,.1f} kimg", f"{speed:,.0f} samples/s", told, early, self._verdict)
        line = for_terminal("  ".join(word for word in words if word))
        if self.live:
            self._bar.update(self._task, completed=share, description=line, left=left)
        else:
            print(f"{left:>10}  {line}", file=sys.stderr, flush=True)  # noqa: T201


def _threads(config: Mapping[str, Any]) -> str:
    return "threads auto" if config["threads"] == "auto" else f"{config['threads']} threads"
