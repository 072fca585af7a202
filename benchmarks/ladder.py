"""The ladder: seconds of training until a target holds on held-out rows, of our systems and of other people's.

    python benchmarks/ladder.py pace [PEERS_DIR]              times steps of our systems, and of the peers' settings
    python benchmarks/ladder.py run [ROW ...]                 our systems
    python benchmarks/ladder.py pilot PEERS_DIR [PEER ...]    tries the settings of the peers shortly
    python benchmarks/ladder.py peers PEERS_DIR [ROW ...]     the peers, each by the setting that did best
    python benchmarks/ladder.py list                          rows, in the order in which they run
    python benchmarks/ladder.py write                         the tables of docs/ladder.md and README.md

A ROW may be a pattern: '*-t1-seed0'. All can be stopped at any moment and go on where they were; what is finished keeps
its figures in benchmarks/figures/ladder/ROW.json. `ladder_peers.py` says what PEERS_DIR holds.

- Seconds are images seen over the pace: images a second by the clock, measured by `pace` on an idle machine. So other
  work beside the rows moves no figure. `ladder_pace.py` says what a pace holds; rows without "pace", kept before there
  was one, have the seconds of the clock itself.
- A row trains in its run folder until a time, is measured, goes on until 1.25 times that time, and so on, to its cap.
  Only training counts: what a budget counts, with the log and the looks of the doctor. Reading data, loading a
  checkpoint and measuring do not.
- Stopping changes nothing: resuming is exact bit for bit, and what changes in the course of training (rates, averages
  of weights, stages) goes by images seen. Remedies are off, and the number of threads is given, so no choice is made by
  the time that is left.
- First a figure of few samples is measured (2,000 to 5,000; Parzen and ring8: all). Where it reaches the target, the
  protocol's own number is; the first time at which that holds too is the row's. So seconds are up to a quarter too
  many, and a row that is lucky once counts.
- The samples are of the average of weights that the product reports, held against test rows as in a report (h32:
  against training windows, as there). Nothing is chosen by these figures but when to stop, and the peers' settings.
- Our systems compute in what `--precision auto` takes (bf16 with kernels in C where the processor has it), the peers in
  fp32, as their code is.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import ladder_tables
import numpy as np
import torch
from ladder_pace import measure_pace, pace_of
from ladder_peers import PEERS, PILOT_SECONDS, build, commit_of
from ladder_targets import MEASURES, Measure, bench_of, reached, times
from records import keep, write_section

from saddlepoint.core.errors import TrainingError
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.engine.settings import Observer, Outcome
from saddlepoint.evaluation import Subject
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "ladder"
RUNS = Path("runs") / "ladder"
SEEDS, THREADS = (0, 1, 2), (1, 2)

SYSTEMS: Mapping[str, tuple[str, str]] = {
    "gan": ("gan", "mnist"), "points": ("gan", "points"), "dcgan": ("dcgan", "small"),
    "stylegan": ("stylegan", "tiny-32"), "r3gan": ("r3gan", "tiny-32"), "timegan": ("timegan", "increments"),
}  # fmt: skip
"""Family and preset."""

OURS = (
    ("gan", ("parzen",)), ("dcgan", ("fd",)), ("points", ("ring8",)), ("r3gan", ("kid",)), ("dcgan", ("stacked",)),
    ("stylegan", ("fd-3",)), ("dcgan", ("fashion-fd",)), ("timegan", ("h32",)), ("stylegan", ("fashion-fd",)),
    ("dcgan", ("kid",)), ("stylegan", ("kid",)),
)  # fmt: skip
"""System, and what is measured while it trains; headlines first."""

THEIRS = (("kid",), ("parzen", "fd"), ("stacked",), ("fashion-fd",))
"""What is measured of the peers, which make images."""

ALIKE = {"cifar10-jpeg": ("cifar10-jpeg", "stacked-mnist"), "mnist": ("mnist", "fashion-mnist")}
"""Data on which the pace of peers is measured, and data on which it is the same."""

ROUNDS = 3
"""How often the paces of our systems are measured."""

PEER_STRETCH = 6.0
"""Seconds of each half of a measurement of theirs, of which there are many."""

PILOTS = {"kid": "kid", "fd": "fd", "parzen": "fd", "stacked": "fd", "fashion-fd": "fd"}
"""By which figure the setting is chosen."""


@dataclass(frozen=True)
class Row:
    """One training: of a system of ours or a peer, what is measured meanwhile, threads, seed."""

    system: str
    measured: tuple[str, ...]
    threads: int
    seed: int

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is measured, all of the same data."""
        return tuple(MEASURES[name] for name in self.measured)

    @property
    def data(self) -> str:
        """Name of the data set."""
        return self.measures[0].data

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.system}-{self.data}-t{self.threads}-seed{self.seed}"

    @property
    def paced(self) -> str:
        """Name of its pace, where it is a system of ours."""
        return f"{self.system}-{self.data}-t{self.threads}"


ROWS = [Row(*one, threads, seed) for threads in THREADS for seed in SEEDS for one in OURS]
PEER_ROWS = [Row(peer, measured, 1, seed) for seed in SEEDS for measured in THEIRS for peer in PEERS]


@dataclass(frozen=True)
class Standing:
    """Where a training stands: seconds, real images seen, and whether it is over."""

    seconds: float
    nimg: int
    over: bool = False


class Training(Protocol):
    """What can be trained until a time, and measured then."""

    def train(self, until: float) -> Standing:
        """Train until so many seconds, from the beginning, are spent at its pace."""

    def subject(self) -> tuple[Subject, Dataset]:
        """Return what it makes now, and the data."""


class Own:
    """A system of ours in its run folder."""

    def __init__(self, row: Row, place: Path) -> None:
        self.row, self.place = row, place
        self.run: api.Run

    def train(self, until: float) -> Standing:
        pace = pace_of(self.row.paced, FIGURES)
        outcome = self.go_on(kimg=pace.images(until) / 1000)
        nimg = outcome.progress.nimg
        return Standing(pace.seconds(nimg), nimg, outcome.reason == "stages")

    def timed(self, until: float) -> tuple[float, int]:
        """Train until so many seconds by the clock; return the seconds, and images seen."""
        outcome = self.go_on(budget=until)
        return outcome.seconds, outcome.progress.nimg

    def go_on(self, **limit: float) -> Outcome:
        row, (family, preset) = self.row, SYSTEMS[self.row.system]
        plan = api.plan(
            family, row.data, preset=preset, seed=row.seed, threads=row.threads, out=self.place, device="cpu",
            remedy="off", **limit,
        )  # fmt: skip
        self.run, outcome = api.start(plan, Observer(warn=print))
        if outcome.reason == "interrupted":
            sys.exit("interrupted; run the same command again")
        return outcome

    def subject(self) -> tuple[Subject, Dataset]:
        dataset = self.run.dataset()
        return self.run.subject(dataset), dataset


class Theirs:
    """A peer, whose state is kept in a folder of its own whenever it is measured.

    Args:
        place: of the state; None: it is not kept.
        paced: name of its pace.
        peer, root: name, and PEERS_DIR.
        data: name of the data set.
        setting: of the peer.
        seed: of everything random.
    """

    def __init__(
        self, place: Path | None, paced: str, peer: str, root: Path, data: str, setting: Mapping[str, Any], seed: int
    ) -> None:
        self.place, self.paced, self.name, self.dataset, self.clock = place, paced, peer, load_dataset(data), 0.0
        self.peer = build(peer, root, np.asarray(self.dataset.splits["train"].x), setting, seed)
        if place is not None and place.exists():
            self.peer.restore(torch.load(place, weights_only=True))

    def train(self, until: float) -> Standing:
        pace = pace_of(self.paced, FIGURES)
        while self.peer.nimg < pace.images(until):
            self.peer.step()
        if self.place is not None:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            part = self.place.with_suffix(".part")
            torch.save(self.peer.state(), part)
            part.replace(self.place)
        return Standing(pace.seconds(self.peer.nimg), self.peer.nimg)

    def timed(self, seconds: float) -> tuple[float, int]:
        """Train for so many seconds by the clock; return the seconds, and images seen, from the beginning."""
        started, before = time.monotonic(), self.clock
        while self.clock < seconds:
            self.peer.step()
            self.clock = before + time.monotonic() - started
        return self.clock, self.peer.nimg

    def subject(self) -> tuple[Subject, Dataset]:
        return Subject(self.name, self.peer.sample), self.dataset


def climb(row: Row, training: Training, kept: dict[str, Any], path: Path) -> None:
    """Train and measure by turns until all targets are reached, or the caps.

    Args:
        row: what is measured, and when.
        training: what trains.
        kept: facts of the row, and its curve so far, which grows.
        path: where it is kept after each point.
    """
    curve = kept.setdefault("curve", [])
    for until in times(row.measures):
        if curve and curve[-1]["until"] >= until:
            continue
        done = {measure.name: reached(measure, curve) for measure in row.measures}
        left = [m for m in row.measures if len(done[m.name]) < len(m.targets) and m.cap >= until]
        if not left:
            break
        try:
            standing = training.train(until)
        except TrainingError as error:
            kept["stopped"] = str(error)
            break
        bench = bench_of(*training.subject())
        figures = {m.name: m.figures(bench, done[m.name]) for m in left if m.first <= until}
        curve.append({"until": until, "seconds": round(standing.seconds, 2), "nimg": standing.nimg, "figures": figures})
        kept["reached"] = {name: at for m in row.measures for name, at in reached(m, curve).items()}
        keep(path, kept, row.threads)
        print(f"{row.name}: {standing.seconds:.0f} s, {standing.nimg:,} images, {told(figures)}", flush=True)
        errors = [found["error"] for found in figures.values() if "error" in found]
        if standing.over or (errors and len(errors) == len(figures)):
            kept["stopped"] = errors[0] if errors else "its stages are over"
            break
    keep(path, {**kept, "finished": True}, row.threads)
    print(f"{row.name}: {kept.get('reached') or 'no target reached'}", flush=True)


def told(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return figures in a line."""
    parts = []
    for name, found in figures.items():
        for count in ("cheap", "full", "error"):
            if values := found.get(count):
                shown = values if count == "error" else " ".join(f"{value:.4g}" for value in values.values())
                parts.append(f"{name} {count} {shown}")
    return ", ".join(parts)


def begun(row: Row) -> tuple[Path, dict[str, Any]]:
    """Return the file of a row, and what is in it."""
    path = FIGURES / f"{row.name}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    return path, kept


def run(row: Row) -> None:
    """Train and measure a system of ours, unless that is finished."""
    path, kept = begun(row)
    if not kept.get("finished"):
        torch.set_num_threads(row.threads)
        family, preset = SYSTEMS[row.system]
        facts = {"family": family, "preset": preset, "seed": row.seed, "pace": asdict(pace_of(row.paced, FIGURES))}
        climb(row, Own(row, RUNS / row.name), kept | facts, path)


def pace(root: Path | None) -> None:
    """Measure the paces of our systems, or those of the peers' settings."""
    if root is None:
        for times, row in itertools.product(range(1, ROUNDS + 1), ROWS):
            torch.set_num_threads(row.threads)
            if row.seed == 0:
                place = RUNS / f"pace-{row.paced}"
                shutil.rmtree(place, ignore_errors=True)
                measure_pace(row.paced, FIGURES, row.threads, Own(row, place).timed, times)
        return
    torch.set_num_threads(1)
    for data in ALIKE:
        for peer in PEERS:
            for name, setting in PEERS[peer].settings.items():
                paced = pace_name(peer, data, name)
                measure_pace(
                    paced, FIGURES, 1, Theirs(None, paced, peer, root, data, setting, 0).timed, 1, PEER_STRETCH
                )


def pace_name(peer: str, data: str, setting: str) -> str:
    """Return the name of the pace of a peer's setting: peers see 32x32 pixels, of one channel or three."""
    return f"{peer}-{next(one for one, others in ALIKE.items() if data in others)}-{setting}"


def pilot_path(peer: str, measure: str, setting: str) -> Path:
    """Return the file of a pilot."""
    return FIGURES / f"pilot-{peer}-{measure}-{setting}.json"


def pilot(root: Path, peers: Sequence[str]) -> None:
    """Train each peer by each of its settings for `PILOT_SECONDS`, and keep a figure of few samples."""
    torch.set_num_threads(1)
    for measure in (MEASURES[name] for name in dict.fromkeys(PILOTS.values())):
        for peer in peers or PEERS:
            for name, setting in PEERS[peer].settings.items():
                path = pilot_path(peer, measure.name, name)
                if path.exists() and json.loads(path.read_text())["setting"] == setting:
                    continue
                # A pilot is short: it is not resumed.
                paced = pace_name(peer, measure.data, name)
                training = Theirs(None, paced, peer, root, measure.data, setting, 0)
                standing = training.train(PILOT_SECONDS)
                found = measure.figures(bench_of(*training.subject()), [target.name for target in measure.targets])
                value = found.get("cheap", {}).get(measure.targets[0].metric)
                facts = {"setting": setting, "value": value, "nimg": standing.nimg, "seconds": standing.seconds}
                keep(path, facts | {"of": commit_of(peer, root), **found}, 1)
                print(f"{path.stem}: {value}, {standing.nimg:,} images", flush=True)


def chosen(peer: str, measure: str) -> str:
    """Return the name of the setting that did best in the pilots; the script ends where one is missing."""
    found = {name: pilot_path(peer, PILOTS[measure], name) for name in PEERS[peer].settings}
    if missing := [path.stem for path in found.values() if not path.exists()]:
        sys.exit(f"not tried yet: {', '.join(missing)}; first: python benchmarks/ladder.py pilot PEERS_DIR {peer}")
    values = {name: json.loads(path.read_text())["value"] for name, path in found.items()}
    # A pilot whose samples were not finite has no value. Less is better by both figures.
    return min(values, key=lambda name: float("inf") if values[name] is None else values[name])


def run_peer(row: Row, root: Path) -> None:
    """Train and measure a peer by its best setting, unless that is finished."""
    path, kept = begun(row)
    if kept.get("finished"):
        return
    torch.set_num_threads(row.threads)
    name = kept.get("setting_name") or chosen(row.system, row.measured[0])
    setting = kept.get("setting") or dict(PEERS[row.system].settings[name])
    facts = {"setting_name": name, "setting": setting, "seed": row.seed, "of": commit_of(row.system, root)}
    state = RUNS / row.name / "state.pt"
    paced = pace_name(row.system, row.data, name)
    facts["pace"] = asdict(pace_of(paced, FIGURES))
    climb(row, Theirs(state, paced, row.system, root, row.data, setting, row.seed), kept | facts, path)


def named(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """Return the rows whose names fit a pattern, in their order; all of them where there is no pattern."""
    for pattern in patterns:
        if not fnmatch.filter([row.name for row in rows], pattern):
            sys.exit(f"no row is called '{pattern}'; `python benchmarks/ladder.py list` names them")
    return [row for row in rows if not patterns or any(fnmatch.fnmatch(row.name, one) for one in patterns)]


def write() -> None:
    """Write the tables."""
    systems = {name: f"{family} {preset}" for name, (family, preset) in SYSTEMS.items()}
    pilots = [
        (peer, measure, name, json.loads(path.read_text()))
        for peer in PEERS for measure in dict.fromkeys(PILOTS.values()) for name in PEERS[peer].settings
        if (path := pilot_path(peer, measure, name)).exists()
    ]  # fmt: skip
    rows = [(row, kept) for row in (*ROWS, *PEER_ROWS) if (kept := begun(row)[1])]
    for (page, name), lines in ladder_tables.sections(rows, systems, pilots).items():
        write_section(page, name, lines)


def main() -> None:
    """Obey the command line."""
    match sys.argv[1:]:
        case ["pace", *root] if len(root) <= 1:
            pace(Path(root[0]).resolve() if root else None)
        case ["run", *names]:
            for row in named(ROWS, names):
                run(row)
        case ["pilot", root, *peers] if set(peers) <= PEERS.keys():
            pilot(Path(root).resolve(), peers)
        case ["peers", root, *names]:
            for row in named(PEER_ROWS, names):
                run_peer(row, Path(root).resolve())
        case ["list"]:
            print(*(row.name for row in (*ROWS, *PEER_ROWS)), sep="\n")
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
