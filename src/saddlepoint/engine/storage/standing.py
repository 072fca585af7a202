"""Where a run stands, told from its folder: what of the budget is spent, and what is left."""

from __future__ import annotations

from dataclasses import dataclass, field

from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.progress import duration
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.checkpoint import facts_of, list_checkpoints
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Progress


@dataclass(frozen=True)
class Standing:
    """Where a run will go on.

    Attributes:
        progress: of the newest checkpoint.
        seconds: trained until then.
        over: why training cannot go on at all, as the last process said it: all stages were over; "" if it can.
    """

    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    over: str = ""

    def spent(self, settings: Settings) -> bool:
        """Whether nothing is left to do."""
        return bool(self.over) or settings.spent(self.progress, self.seconds)

    def summary(self, settings: Settings) -> str:
        """Say what of the budget is spent and what is left, such as ``100 s of 10 min are spent; 8 min 20 s left``."""
        spent, left = [], []
        if settings.seconds is not None:
            spent.append(f"{duration(self.seconds)} of {duration(settings.seconds)}")
            left.append(duration(max(0.0, settings.seconds - self.seconds)))
        if settings.kimg is not None:
            done = self.progress.nimg / 1000
            spent.append(f"{done:,.1f} of {settings.kimg:,g} kimg")
            left.append(f"{max(0.0, settings.kimg - done):,.1f} kimg")
        if settings.steps is not None:
            spent.append(f"{self.progress.step:,} of {settings.steps:,} steps")
            left.append(f"{max(0, settings.steps - self.progress.step):,} steps")
        if not spent:
            return "no limit is set"
        return f"{' and '.join(spent)} are spent; {' or '.join(left)} left"


def standing_of(folder: RunFolder) -> Standing:
    """Return where the run in a folder stands; at its beginning if there is no checkpoint."""
    status = folder.read_status()
    over = "all stages are over" if status.get("reason") == "stages" and status.get("state") == "finished" else ""
    for path in list_checkpoints(folder.checkpoints):
        try:
            step, facts = facts_of(path)
            return Standing(Progress(step, facts["nimg"]), float(facts["seconds"]), over)
        except (CheckpointError, KeyError):
            continue  # what is damaged is set aside when the run goes on
    return Standing(over=over)
