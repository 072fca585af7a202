"""A line of progress for training from Python: refreshed on a terminal and in a notebook, else every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.quoting import for_html, for_terminal
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.plan import early_stage
from saddlepoint.engine.settings import Means, Observer, Settings
from saddlepoint.family import Progress, Stage
from saddlepoint.figures import grids
from saddlepoint.run.launch import Start

_LIVE_SECONDS = 0.5
_LINE_SECONDS = 10.0
_SHOWN = {name: name for name in ("V", "D(x)", "D(G(z))")}


def figures(means: Mapping[str, float], shown: Mapping[str, str]) -> list[tuple[str, float]]:
    """Return what a line shows of the means since the last report: names and values.

    Args:
        means: of the log, by name.
        shown: the log's names of a game, and what they are called; where there is none of them, losses are shown.

    >>> figures({"V": -1.2, "loss/generator": 1.2}, {"V": "V"}), figures({"KL": 25.0, "loss/bound": 99.0}, {"V": "V"})
    ([('V', -1.2)], [('loss', 99.0)])
    """
    game = [(word, means[name]) for name, word in shown.items() if name in means]
    losses = [(name, value) for name, value in means.items() if name.startswith("loss/")]
    return game or [("loss" if len(losses) == 1 else name.removeprefix("loss/"), value) for name, value in losses[:3]]


def notebook() -> Callable[..., Any] | None:
    """Return IPython's `display` where code runs in a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    found: Callable[..., Any] = display
    return found


def is_watched() -> bool:
    """Whether somebody is likely to look: in a notebook, or where standard error is a terminal."""
    return notebook() is not None or sys.stderr.isatty()


def remaining(settings: Settings, at: Progress, seconds: float, speed: float) -> tuple[float, str]:
    """Return the share of the budget that is spent and the time left in words, by the tightest limit.

    Args:
        settings: with the limits.
        at: where training stands.
        seconds: trained so far.
        speed: samples in a second; 0: not known yet.
    """
    limits: list[tuple[float, float]] = []
    if settings.seconds is not None:
        limits.append((seconds / settings.seconds, settings.seconds - seconds))
    per_step = at.nimg / at.step if at.step else 1.0
    goals = (settings.kimg and settings.kimg * 1000, settings.steps and settings.steps * per_step)
    limits += [(at.nimg / goal, (goal - at.nimg) / speed) for goal in goals if goal and speed]
    if not limits:
        return 0.0, ""
    share, left = min(limits, key=lambda limit: limit[1])
    minutes, rest = divmod(max(0, round(left)), 60)
    return min(1.0, share), f"{minutes}:{rest:02d} left"


class Line:
    """Says how a training stands: time left, kimg, samples/s, V(D, G), mean D(x) and D(G(z)), the doctor's verdict.

    Where no game is played, the loss stands in place of its figures.

    Args:
        settings: the budget, for the time left.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.display = settings, notebook()
        self.live = self.display is not None or sys.stderr.isatty()
        self.verdict, self.width = "", 0
        self._next, self._first = 0.0, (0.0, 0)
        self._means: dict[str, float] = {}
        self._places: dict[str, Any] = {}
        self._stages: Sequence[Stage] = ()

    def observer(self) -> Observer:
        """Return the observer that feeds the line."""
        return Observer(tick=self.tick, diagnosis=self.diagnosis, snapshot=self.snapshot, say=self.say, warn=self.warn)

    def announce(self, start: Start) -> None:
        """Say what is trained, on what, where."""
        family, spec = start.config["family"], start.dataset.spec
        self._stages = start.family.stages()
        shape = "x".join(str(side) for side in spec.shape)
        self.say(f"{family} on {start.dataset.name}, {spec.rows:,} {spec.modality}s of {shape}; run: {start.folder}")

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Remember the doctor's verdict for the line."""
        self.verdict = diagnosis.verdict

    def say(self, line: str) -> None:
        """Say a line of its own."""
        self._clear()
        sys.stderr.write(f"{for_terminal(line)}\n")
        sys.stderr.flush()

    def warn(self, line: str) -> None:
        """Say a line that must be seen."""
        self.say(f"warning: {line}")

    def tick(self, at: Progress, seconds: float, means: Means) -> None:
        """Refresh the line if it is time to."""
        now = time.monotonic()
        if not self._first[0]:
            self._first = (now, at.nimg)
        if now < self._next:
            return
        self._next = now + (_LIVE_SECONDS if self.live else _LINE_SECONDS)
        self._means = means() or self._means
        started, nimg = self._first
        speed = (at.nimg - nimg) / (now - started) if now > started else 0.0
        share, left = remaining(self.settings, at, seconds, speed)
        told = [f"{name} {value:.3f}" for name, value in figures(self._means, _SHOWN)]
        words = [f"{share:.0%}", left, f"{at.nimg / 1000:,.1f} kimg", f"{speed:,.0f} samples/s", *told]
        words += [early_stage(self._stages, at.step), self.verdict]
        self._show("  ".join(word for word in words if word))

    def snapshot(self, step: int, samples: Tensor) -> None:
        """In a notebook, show the samples below the line."""
        if self.display is None or samples.dim() != 4:
            return
        from IPython.display import Image

        try:
            picture = grids.encoded(grids.grid(samples))
        except SaddlepointError:
            return
        self._put("picture", Image(data=picture))

    def end(self) -> None:
        """Leave the last line where it is."""
        if self.live and self.display is None and self.width:
            sys.stderr.write("\n")
        self.width = 0

    def _show(self, line: str) -> None:
        if self.display is not None:
            from IPython.display import HTML

            self._put("line", HTML(f"<pre>{for_html(line)}</pre>"))
        elif self.live:
            line = for_terminal(line)
            sys.stderr.write("\r" + line.ljust(self.width))
            sys.stderr.flush()
            self.width = len(line)
        else:
            self.say(line)

    def _clear(self) -> None:
        if self.live and self.display is None and self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            self.width = 0

    def _put(self, place: str, what: Any) -> None:
        """Show something in the notebook, in the place of what was shown there before."""
        assert self.display is not None
        if place in self._places:
            self._places[place].update(what)
        else:
            self._places[place] = self.display(what, display_id=True)
