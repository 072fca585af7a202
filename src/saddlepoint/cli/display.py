"""What a person sees while a family trains: a live line on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.status import Status
from rich.text import Text

from saddlepoint.cli import waiting
from saddlepoint.cli.tables import brief_reading
from saddlepoint.core.console import LiteralConsole
from saddlepoint.core.quoting import for_terminal
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.standing import Standing as At
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.run.progress import Line
from saddlepoint.run.show import sizes

if TYPE_CHECKING:
    from saddlepoint.run.api import Start


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


class Display(Line):
    """Shows how a training stands, for the command: more is said before it, and a result follows.

    Args:
        settings: the budget, for the time left.
        quiet: say nothing but warnings.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        super().__init__(settings, quiet=quiet)
        self.began: At | None = None

    def say(self, line: str) -> None:
        """Print one line."""
        waiting.said()
        super().say(line)

    def warn(self, line: str) -> None:
        """Print one line even if quiet."""
        waiting.said()
        super().warn(line)

    def announce(self, start: Start) -> None:
        """Say what is about to be trained, on what, where; of a run that goes on, what of its budget is left."""
        self.began = standing_of(RunFolder(start.folder)) if start.resumed else None
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
        self.begin(start.family.stages())


def _threads(config: Mapping[str, Any]) -> str:
    return "threads auto" if config["threads"] == "auto" else f"{config['threads']} threads"
