"""The tables of the ladder, from its kept figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder_peers import PEERS, PILOT_SECONDS, WORDS
from ladder_targets import MEASURES, Measure, Target, best
from records import head_of, line_of, measured_on

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ladder.md"

Kept = tuple[Any, Mapping[str, Any]]
"""A row, and what is kept of it."""


@dataclass(frozen=True)
class Result:
    """What the seeds of one system and number of threads reached of one target.

    Attributes:
        seconds: of each seed until it held; infinite where it did not.
        images: real images seen by then, or by the end.
        best: the best figure of all seeds, in the target's unit; None: nothing was measured.
        measure: what was measured.
    """

    seconds: tuple[float, ...]
    images: tuple[int, ...]
    best: float | None
    measure: Measure

    @property
    def median(self) -> float:
        """The median over seeds, of an even number the larger; infinite where most missed it."""
        return statistics.median_high(self.seconds)

    @property
    def rank(self) -> tuple[float, float]:
        """Less is better: the median, then the best figure."""
        value = math.inf if self.best is None else self.best
        return self.median, -value if self.measure.higher else value

    def shown(self) -> str:
        """Return median and range, or how near it came."""
        if math.isinf(self.median):
            found = "nothing measured" if self.best is None else f"best {self.best:,.4g}"
            return f"not in {self.measure.cap:,.0f} s: {found}"
        spread = f" ({spelt(min(self.seconds))} to {spelt(max(self.seconds))})" if len(self.seconds) > 1 else ""
        return f"**{spelt(self.median)} s**{spread}"


def spelt(seconds: float) -> str:
    """Return seconds as they are written."""
    return "missed" if math.isinf(seconds) else f"{seconds:,.{0 if seconds >= 10 else 1}f}"


def result(measure: Measure, target: Target, kept: Sequence[Kept]) -> Result | None:
    """Return what rows of one system reached; None: none is finished, nor did one that is not reach the target."""
    some = [one for _, one in kept if one.get("finished") or target.name in one.get("reached", {})]
    if not some:
        return None
    seconds = tuple(float(one["reached"].get(target.name, math.inf)) if "reached" in one else math.inf for one in some)
    images = tuple(seen(one["curve"], after) for one, after in zip(some, seconds, strict=True))
    values = [value for one in some if (value := best(measure, target, one["curve"])) is not None]
    extreme = (max if measure.higher else min)(values, default=None)
    return Result(seconds, images, None if extreme is None else extreme * target.factor, measure)


def seen(curve: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """Return the images seen at a point of a curve, or at its end."""
    return next((point["nimg"] for point in curve if point["seconds"] >= seconds), curve[-1]["nimg"] if curve else 0)


def results(rows: Sequence[Kept], measure: Measure, target: Target) -> dict[tuple[str, int], Result]:
    """Return what was reached of a target, by system and number of threads."""
    groups: dict[tuple[str, int], list[Kept]] = {}
    for row, kept in rows:
        if measure.name in row.measured:
            groups.setdefault((row.system, row.threads), []).append((row, kept))
    found = {key: result(measure, target, group) for key, group in groups.items()}
    return {key: one for key, one in found.items() if one is not None}


def ours(found: Mapping[tuple[str, int], Result], systems: Mapping[str, str], threads: int) -> str:
    """Return the best of our systems on so many threads."""
    own = {system: one for (system, count), one in found.items() if system in systems and count == threads}
    if not own:
        return ""
    first = min(own, key=lambda name: own[name].rank)
    return f"`{systems[first]}` {own[first].shown()}"


def steps(rows: Sequence[Kept], systems: Mapping[str, str], both: bool) -> list[str]:
    """Return the table of targets: the best of our systems, on one thread or on both numbers, beside the peers."""
    lines = head_of(["target", "ours, 1 thread", *(["2 threads"] if both else []), *WORDS.values()])
    for measure in MEASURES.values():
        for target in measure.targets:
            if not (found := results(rows, measure, target)):
                continue
            cells = [ours(found, systems, threads) for threads in ((1, 2) if both else (1,))]
            peers = [one.shown() if (one := found.get((peer, 1))) else "" for peer in PEERS]
            lines.append(line_of([target.words, *cells, *peers]))
    return lines


def systems_of(rows: Sequence[Kept], systems: Mapping[str, str]) -> list[str]:
    """Return the table of every system, number of threads and target."""
    lines = head_of(["target", "system", "threads", "seeds", "seconds", "images seen"])
    for measure in MEASURES.values():
        for target in measure.targets:
            found = results(rows, measure, target)
            for (system, threads), one in sorted(found.items(), key=lambda pair: (pair[0][1], pair[1].rank)):
                name = f"`{systems[system]}`" if system in systems else WORDS[system]
                images = f"{statistics.median_high(one.images):,}"
                lines.append(line_of([target.words, name, str(threads), str(len(one.seconds)), one.shown(), images]))
    return lines


Pilot = tuple[str, str, str, Mapping[str, Any]]
"""Peer, measure, name of the setting, and what is kept."""


def settings(pilots: Sequence[Pilot]) -> list[str]:
    """Return the table of what was tried of the peers."""
    names = list(dict.fromkeys(measure for _, measure, _, _ in pilots))
    words = {name: f"{MEASURES[name].targets[0].words.split(':')[0]}, {name}" for name in names}
    lines = head_of(["peer", "setting", *words.values()])
    for peer, setting in dict.fromkeys((peer, setting) for peer, _, setting, _ in pilots):
        found = {measure: kept for one, measure, name, kept in pilots if (one, name) == (peer, setting)}
        options = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in next(iter(found.values()))["setting"].items())  # fmt: skip
        cells = [tried(found.get(name), MEASURES[name].targets[0].factor) for name in names]
        lines.append(line_of([WORDS[peer], options, *cells]))
    return lines


def tried(kept: Mapping[str, Any] | None, factor: float) -> str:
    """Return the figure of a pilot, and the images that it saw."""
    if kept is None:
        return ""
    value = "not finite" if kept["value"] is None else f"{factor * kept['value']:,.4g}"
    return f"{value} ({kept['nimg']:,} images)"


def sections(
    rows: Sequence[Kept], systems: Mapping[str, str], pilots: Sequence[Pilot]
) -> dict[tuple[Path, str], list[str]]:
    """Return what stands between the marks of each page and name.

    Args:
        rows: with what is kept of them.
        systems: names of ours, as they are written.
        pilots: of the peers.
    """
    if not rows:
        nothing = ["Not measured yet."]
        pages = {(PAGE, name): nothing for name in ("ladder", "ladder-systems", "ladder-peers")}
        return pages | {(ROOT / "README.md", "ladder"): nothing}
    lines = [*steps(rows, systems, both=True), "", measured_on(one for _, one in rows)]
    peers = {row.system: one["of"] for row, one in rows if "of" in one}
    if peers:
        lines += ["", "Peers' commits: " + ", ".join(f"{WORDS[peer]} {of}" for peer, of in peers.items()) + "."]
    used = [
        f"- {WORDS[row.system]}, `{row.data}`: setting `{one['setting_name']}`"
        for row, one in rows if "setting_name" in one and row.seed == 0
    ]  # fmt: skip
    tried_here = [f"Figures after {PILOT_SECONDS:.0f} s of training, of few samples:", "", *settings(pilots), "", *used]
    return {
        (PAGE, "ladder"): lines,
        (PAGE, "ladder-systems"): systems_of(rows, systems),
        (PAGE, "ladder-peers"): tried_here if pilots else ["No setting is tried yet."],
        (ROOT / "README.md", "ladder"): steps(rows, systems, both=False),
    }
