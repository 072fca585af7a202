"""How a training stands, while it lasts: a bar on a terminal, a line in a notebook, elsewhere a line every ten seconds.

The command shows the same, with more words before it (`cli/display.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from saddlepoint.core import logs
from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.quoting import for_html, for_terminal
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.plan import early_stage
from saddlepoint.engine.settings import Means, Observer, Settings
from saddlepoint.family import Progress, Stage
from saddlepoint.figures import grids

if TYPE_CHECKING:
    from saddlepoint.run.launch import Start

_LIVE_SECONDS = 0.25
LINE_SECONDS = 10.0
SHOWN = {
    "V": "V", "D(x)": "D(x)", "D(G(z))": "D(G(z))", "class accuracy": "class accuracy", "cycle error": "cycle error",
    "cycle error (latent)": "cycle error", "diversity (latent)": "diversity",
}  # fmt: skip
"""Figures of the log and what they are called in the line; the last ones say what a translation is worth."""


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
    """Whether somebody is likely to look: in a notebook, or on a terminal that shows no log, which says the same."""
    return notebook() is not None or (sys.stderr.isatty() and not logs.is_shown())


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


def sentence(start: Start) -> str:
    """Return what is trained, on what, where, in one line."""
    spec = start.dataset.spec
    shape = "x".join(str(side) for side in spec.shape)
    rows = f"{spec.rows:,} {spec.modality}s of {shape}"
    return f"{start.config['family']} on {start.dataset.name}, {rows}; run: {start.folder}"


class Pace:
    """Says in words how a training stands, whenever it is time to.

    Args:
        settings: the budget, for the time left.
        every: seconds from one time to the next.
        at_once: whether the first time is the first step.

    Attributes:
        verdict: the doctor's, for the words.
        stages: of the family: an early one is named.
    """

    def __init__(self, settings: Settings, every: float, *, at_once: bool = True) -> None:
        self.settings, self.every = settings, every
        self.verdict, self.stages = "", tuple[Stage, ...]()
        self._next, self._first, self._last = 0.0 if at_once else time.monotonic() + every, (0.0, 0), 0
        self._means: dict[str, float] = {}

    def at(self, at: Progress, seconds: float, means: Means) -> tuple[float, str, str] | None:
        """Return the share of the budget that is spent, the time left, and all else in words; None: it is not time.

        Args:
            at, seconds, means: as `Observer.tick` receives them.
        """
        now = time.monotonic()
        if not self._first[0] or at.nimg < self._last:  # the beginning; another training, or the same one gone back
            self._first, self.verdict = (now, at.nimg), ""
        self._last = at.nimg
        if now < self._next:
            return None
        self._next = now + self.every
        self._means = means() or self._means
        started, nimg = self._first
        speed = (at.nimg - nimg) / (now - started) if now > started else 0.0
        share, left = remaining(self.settings, at, seconds, speed)
        told = "  ".join(f"{name} {value:.3f}" for name, value in figures(self._means, SHOWN))
        early = early_stage(self.stages, at.step)
        words = (f"{at.nimg / 1000:,.1f} kimg", f"{speed:,.0f} samples/s", told, early, self.verdict)
        return share, left, "  ".join(word for word in words if word)


class Line:
    """Shows how a training stands: time left, kimg, samples/s, V(D, G), mean D(x) and D(G(z)), the doctor's verdict.

    Where no game is played, the loss stands in place of its figures; of translation there are also the share that D's
    classifier reads as the domain asked for, and the cycle error.

    Args:
        settings: the budget, for the time left.
        quiet: say nothing but warnings.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        from saddlepoint.core.console import LiteralConsole, bar  # rich is loaded where somebody looks on

        self.settings, self.quiet, self.display = settings, quiet, notebook()
        # In a notebook rich would make every line an output of its own.
        self.console = LiteralConsole(stderr=True, soft_wrap=True, force_jupyter=False)
        # A log on the same terminal would write into the bar; it says the same.
        self.live = self.display is not None or (self.console.is_terminal and not quiet and not logs.is_shown())
        self.pace = Pace(settings, _LIVE_SECONDS if self.live else LINE_SECONDS)
        self._bar = bar(self.console, self.live and self.display is None)
        self._task = self._bar.add_task("starting", total=1.0, left="")
        self._places: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def observer(self) -> Observer:
        """Return the observer that feeds the line."""
        return Observer(tick=self.tick, diagnosis=self.diagnosis, snapshot=self.snapshot, say=self.say, warn=self.warn)

    def announce(self, start: Start) -> None:
        """Say what is trained, on what, where."""
        self.say(sentence(start))
        self.begin(start.family.stages())

    def begin(self, stages: Sequence[Stage]) -> None:
        """Let the bar begin; what is said from now on stands above it.

        Args:
            stages: of the family.
        """
        self.pace.stages = tuple(stages)
        if self.live:
            self._bar.start()

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Remember the doctor's verdict for the line."""
        self.pace.verdict = diagnosis.verdict

    def say(self, line: str) -> None:
        """Say a line of its own, unless the program's log shows it."""
        if not self.quiet and not logs.is_shown():
            self._tell(line)

    def warn(self, line: str) -> None:
        """Say a line that must be seen."""
        if not logs.is_shown():
            self._tell(f"warning: {line}")

    def tick(self, at: Progress, seconds: float, means: Means) -> None:
        """Refresh the line if it is time to."""
        if self.quiet or (told := self.pace.at(at, seconds, means)) is None:
            return
        share, left, words = told
        if self.display is not None:
            from IPython.display import HTML

            line = "  ".join(word for word in (f"{share:.0%}", left, words) if word)
            self._put("line", HTML(f"<pre>{for_html(line)}</pre>"))
        elif self.live:
            self._bar.update(self._task, completed=share, description=for_terminal(words), left=left)
        elif not logs.is_shown():
            self._tell(f"{left:>10}  {words}")

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

    def _tell(self, line: str) -> None:
        if self.live and self.display is None:
            self.console.print(line)
        else:  # rich would fold a line, or colour it
            sys.stderr.write(f"{for_terminal(line)}\n")
            sys.stderr.flush()

    def _put(self, place: str, what: Any) -> None:
        """Show something in the notebook, in the place of what was shown there before."""
        assert self.display is not None
        if place in self._places:
            self._places[place].update(what)
        else:
            self._places[place] = self.display(what, display_id=True)
