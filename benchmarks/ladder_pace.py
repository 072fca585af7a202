"""The pace of a training: images a second on an idle machine, by which the ladder turns images into seconds.

A pace is kept in figures/SCRIPT/pace-NAME.json, measured in two stretches of training: the second one tells images a
second, the first one what more the start costs (cold caches, memory that is asked for). In it is what a budget counts:
steps, the log, the looks of the doctor. Machines are not equally fast all day: ours are measured in rounds, minutes
apart, and the median counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from records import keep

STRETCH = 12.0


@dataclass(frozen=True)
class Pace:
    """Seconds of so many images: ``start`` + images / ``rate``."""

    rate: float
    start: float

    def images(self, seconds: float) -> int:
        """Return how many images are seen in so many seconds."""
        return max(1, round((seconds - self.start) * self.rate))

    def seconds(self, images: int) -> float:
        """Return how long so many images take."""
        return self.start + images / self.rate


def pace_of(name: str, folder: Path) -> Pace:
    """Return a pace that was measured; the script ends where it was not."""
    path = folder / f"pace-{name}.json"
    if not path.exists():
        script = f"python benchmarks/{folder.name}.py pace"
        sys.exit(f"the pace of {name} is not measured yet; first, on an idle machine: {script}")
    found = json.loads(path.read_text())
    return Pace(found["rate"], found["start"])


def measure_pace(
    name: str, folder: Path, threads: int, train: Callable[[float], tuple[float, int]], times: int,
    stretch: float = STRETCH,
) -> None:  # fmt: skip
    """Measure a pace once more, unless it was measured so many times, and keep the median of all.

    Args:
        name: of its file.
        folder: where paces are kept, named like the script whose ``pace`` measures them.
        threads: that ``train`` takes.
        train: trains until so many seconds by the clock, from the beginning -> the seconds, and images seen.
        times: that it shall have been measured.
        stretch: seconds of each half.
    """
    path = folder / f"pace-{name}.json"
    measured = [Pace(**one) for one in json.loads(path.read_text())["measured"]] if path.exists() else []
    if len(measured) >= times:
        return
    (first, few), (second, many) = train(stretch), train(2 * stretch)
    rate = (many - few) / (second - first)
    measured.append(Pace(rate, max(0.0, first - few / rate)))
    median = sorted(measured, key=lambda pace: pace.rate)[(len(measured) - 1) // 2]
    keep(path, asdict(median) | {"measured": [asdict(one) for one in measured]}, threads)
    print(f"{path.stem}: {', '.join(f'{one.rate:,.1f}' for one in measured)} images a second", flush=True)
