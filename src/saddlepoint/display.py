"""What a person sees while a family trains: a live line on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from saddlepoint.engine.doctor import Diagnosis
from saddlepoint.engine.settings import Means, Observer, Settings
from saddlepoint.tables import brief_reading

if TYPE_CHECKING:
    from saddlepoint.api import Start
    from saddlepoint.family import Progress as Standing

_LIVE_SECONDS = 0.25
_LINE_SECONDS = 10.0
_SHOWN = {
    "V": "V", "D(x)": "D(x)", "D(G(z))": "D(G(z))", "class accuracy": "class accuracy", "cycle error": "cycle error",
    "cycle error (latent)": "cycle error", "diversity (latent)": "diversity",
}  # fmt: skip
"""Figures of the log and what they are called in the line; the last ones say what a translation is worth."""


class Display:
    """Shows kimg, samples/s, time left, V(D, G), mean D(x) and mean D(G(z)) of the recent steps, and the verdict.

    Of translation also the share that D's classifier reads as the domain asked for, and the cycle error.

    Args:
        settings: the budget, for the time left.
        quiet: say nothing but warnings.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        self.settings, self.quiet = settings, quiet
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.fields[left]}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self._task = self._bar.add_task("starting", total=1.0, left="")
        self._next = 0.0
        self._first: tuple[float, int] | None = None
        self._means: dict[str, float] = {}
        self._verdict = ""

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
        if not self.quiet:
            self.console.print(line, markup=False)

    def warn(self, line: str) -> None:
        """Print one line even if quiet."""
        self.console.print(f"warning: {line}", markup=False)

    def announce(self, start: Start) -> None:
        """Say what is about to be trained, on what, where."""
        if self.quiet:
            return
        config, spec = start.config, start.dataset.spec
        rows = f"{spec.rows:,} {spec.modality}s of {'x'.join(str(side) for side in spec.shape)}"
        sizes = {name: sum(p.numel() for p in m.parameters()) for name, m in start.family.named_children()}
        names = [f"{name} {size / 1e6:.2f} M" for name, size in sizes.items() if size]
        self.say(f"data:     {start.dataset.name}, {rows}")
        for line in brief_reading(start.reading):
            self.say(f"          {line}")
        self.say(f"family:   {config['family']}, preset {config['preset']}; {', '.join(names)} parameters")
        self.say(f"machine:  {config['device']}, {config['threads']} threads, seed {config['settings']['seed']}")
        self.say(f"run:      {start.folder}{' (going on)' if start.resumed else ''}; Ctrl-C stops and saves")
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
        share, left = self._remaining(at, seconds, speed)
        figures = "  ".join(f"{short} {self._means[name]:.3f}" for name, short in _SHOWN.items() if name in self._means)
        line = f"{at.nimg / 1000:,.1f} kimg  {speed:,.0f} samples/s  {figures}  {self._verdict}".rstrip()
        if self.live:
            self._bar.update(self._task, completed=share, description=line, left=left)
        else:
            print(f"{left:>10}  {line}", file=sys.stderr, flush=True)  # noqa: T201

    def _remaining(self, at: Standing, seconds: float, speed: float) -> tuple[float, str]:
        """Return the share of the budget that is spent and the time left in words, by the tightest limit."""
        limits: list[tuple[float, float]] = []
        if self.settings.seconds is not None:
            limits.append((seconds / self.settings.seconds, self.settings.seconds - seconds))
        per_step = at.nimg / at.step if at.step else 1.0
        goals = (
            self.settings.kimg and self.settings.kimg * 1000,
            self.settings.steps and self.settings.steps * per_step,
        )
        limits += [(at.nimg / goal, (goal - at.nimg) / speed) for goal in goals if goal and speed]
        if not limits:
            return 0.0, ""
        share, left = min(limits, key=lambda limit: limit[1])
        minutes, rest = divmod(max(0, round(left)), 60)
        return min(1.0, share), f"{minutes}:{rest:02d} left"
