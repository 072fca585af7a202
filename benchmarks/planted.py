"""Plants failures in short runs, and asks the training doctor; makes the figures of docs/notebook/results-doctor.md.

    python benchmarks/planted.py run [PROBLEM ...]     train and measure what is missing; can be stopped at any moment
    python benchmarks/planted.py judge [--all]         ask the doctor again about the kept logs; print a table
    python benchmarks/planted.py write                 write the tables into the page

- A *setting* is a problem (`planted_problems.py`), a plant (or none), and options drawn from a seed made of its name. A
  quarter of the settings, chosen by a hash of the name, is held out: `judge` does not show it without --all, so that
  no threshold of the doctor is tuned on it.
- The *truth* is a figure that the doctor does not see; it says well, failed or in between (`planted_problems.py`).
- A planted run counts if it failed: by construction for constant noise and duplicated data, by the truth for the
  others. It is *detected* if the doctor raises an alarm from the plant's list (`PLANTS`) at any report.
- A healthy run counts if the truth says that it trained well. Any alarm at any report is a *false alarm*.
- A *remedy* is counted where a run on automatic remedies would have been changed.
- Every run is shorter than two minutes of one thread.
- Intervals are Clopper-Pearson, 95%. Runs that do not count are reported with their number.

Figures are kept as one JSON line a run in benchmarks/figures/doctor/PROBLEM.jsonl, what the doctor saw beside them in
PROBLEM.log.jsonl.gz, so that it can be asked again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from planted_problems import BY_CONSTRUCTION, PLANTS, PROBLEMS, Problem, attended
from records import commit, write_section
from scipy.stats import beta

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.errors import TrainingError
from saddlepoint.data import Dataset
from saddlepoint.data.dataset import Split
from saddlepoint.engine.doctor.monitor import THOROUGH_EVERY
from saddlepoint.engine.doctor.rules import CLASSIFIED
from saddlepoint.engine.doctor.verdict import Watch
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "doctor"
PAGE = HERE.parent / "docs" / "notebook" / "results-doctor.md"


@dataclass(frozen=True)
class Setting:
    """One run: problem, plant (empty: none) and number; options and seed follow from its name."""

    problem: str
    plant: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.problem}/{self.plant or 'healthy'}/{self.number}"

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.name.encode()).digest()[0] % 4 == 0

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(f"seed/{self.name}".encode()).digest()[:4], "little")


def settings(problem: Problem) -> list[Setting]:
    """Return the settings of a problem, plants mixed with healthy runs: a part of the list is a part of each."""
    found = [Setting(problem.name, "", i) for i in range(problem.healthy)]
    found += [Setting(problem.name, plant, i) for plant in problem.plants for i in range(problem.planted)]
    return sorted(found, key=lambda setting: setting.seed)


def duplicated(dataset: Dataset, rows: int, seed: int) -> Dataset:
    """Return the data with a training split of that many rows, repeated."""
    train = dataset.splits["train"]
    chosen = np.tile(np.random.default_rng(seed).choice(len(train), rows, replace=False), 4096 // rows)
    labels = None if train.labels is None else train.labels[chosen]
    splits = {**dataset.splits, "train": Split(np.array(train.x[chosen]), labels)}
    return Dataset(dataset.name, dataset.modality, splits, dataset.classes, f"{dataset.fingerprint}-{rows}")


def run(setting: Setting) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train one setting with the doctor watching; measure the truth. Return figures, and the lines with signs."""
    problem = PROBLEMS[setting.problem]
    rng = np.random.default_rng(setting.seed)
    config, noise, rows = problem.draw(setting.plant, setting.number, rng)
    dataset = duplicated(problem.data(), rows, setting.seed) if rows else problem.data()
    family = build_family(problem.family, config, dataset.spec)
    drawn = family.sample_inputs
    family.sample_inputs = lambda n, generator: noise * drawn(n, generator)  # type: ignore[method-assign]
    chosen = Settings(
        seed=setting.seed, kimg=problem.kimg, report_kimg=problem.report_kimg, checkpoint_seconds=math.inf
    )
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(place)
        trainer = attended(family, dataset, chosen, folder)
        started = time.monotonic()
        try:
            if trainer.train(dataset.stats).reason == "interrupted":
                sys.exit("interrupted; run the same command again")
            figures = problem.truth(trainer.state, dataset)
        except TrainingError as error:
            figures = {"error": str(error)}
        seconds = time.monotonic() - started
        log = [shortened(line) for line in folder.read_log() if "signs" in line or "event" in line]
    about = {"noise": noise, "rows": rows, "seconds": round(seconds, 1), "held_out": setting.held_out}
    return {"name": setting.name, **figures, **about, "commit": commit()}, log


def shortened(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the doctor reads of a log line, numbers to four digits."""
    kept = {name: line[name] for name in ("step", "nimg", "V", "event", "what") if name in line}
    if "V" in kept:
        kept["V"] = float(f"{kept['V']:.4g}")
    if "signs" in line:
        kept["signs"] = {name: float(f"{value:.4g}") for name, value in line["signs"].items()}
    return kept


def logs_of(problem: str) -> dict[str, list[dict[str, Any]]]:
    """Return the kept logs of a problem by the names of settings."""
    path = FIGURES / f"{problem}.log.jsonl.gz"
    if not path.exists():
        return {}
    with gzip.open(path, "rt") as lines:
        return {found["name"]: found["log"] for found in map(json.loads, lines)}


def run_all(names: Sequence[str]) -> None:
    """Train what is missing, problem by problem."""
    torch.set_num_threads(1)
    runtime.keep_freed_memory()
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in names or PROBLEMS:
        problem, done = PROBLEMS[name], {figure["name"] for figure in figures_of(name)}
        for setting in settings(problem):
            if setting.name in done:
                continue
            figure, log = run(setting)
            with gzip.open(FIGURES / f"{name}.log.jsonl.gz", "at") as file:
                file.write(json.dumps({"name": setting.name, "log": log}) + "\n")
            with open(FIGURES / f"{name}.jsonl", "a") as file:
                file.write(json.dumps(figure) + "\n")
            print(f"{setting.name}: {figure['seconds']} s", flush=True)


def figures_of(name: str) -> list[dict[str, Any]]:
    """Return the figures kept of a problem's settings."""
    path = FIGURES / f"{name}.jsonl"
    known = {setting.name for setting in settings(PROBLEMS[name])}
    figures = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [figure for figure in figures if figure["name"] in known]


def kept(name: str) -> dict[str, dict[str, Any]]:
    """Return the figures kept of a problem, with what the truth says, by the names of settings."""
    figures = figures_of(name)
    usual = [figure for figure in figures if "/healthy/" in figure["name"] and "error" not in figure]
    return {figure["name"]: figure | {"truth": PROBLEMS[name].word(figure, usual)} for figure in figures}


def asked(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ask the doctor about a kept log: every alarm with the count of samples at which it was raised, the last word."""
    watch = Watch()
    alarms: list[tuple[str, float]] = []
    evaluations = 0
    for line in log:
        if "signs" in line and evaluations % THOROUGH_EVERY:
            line = {**line, "signs": {k: v for k, v in line["signs"].items() if k not in CLASSIFIED}}
        evaluations += "signs" in line
        before, diagnosis = watch.diagnosis, watch.add(line)
        if diagnosis.alarming and diagnosis.verdict != before.verdict:
            alarms.append((diagnosis.verdict, line["nimg"] / 1000))
    return {"alarms": alarms, "verdict": watch.diagnosis.verdict, "evidence": list(watch.diagnosis.evidence)}


def judged(name: str) -> list[dict[str, Any]]:
    """Return the figures of a problem with what the doctor says of their logs now."""
    logs = logs_of(name)
    return [figure | asked(logs[figure["name"]]) for figure in kept(name).values() if figure["name"] in logs]


def interval(hits: int, n: int) -> str:
    """Return share and Clopper-Pearson interval in words."""
    if n == 0:
        return "no runs"
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{hits} of {n}: **{hits / n:.0%}** ({low:.0%} to {high:.0%})"


def plant_of(figure: Mapping[str, Any]) -> str:
    """Return the plant of a run; "healthy" where there is none."""
    return str(figure["name"].split("/")[1])


def counts(figure: Mapping[str, Any]) -> bool:
    """Whether a run counts: a planted one that failed, a healthy one that went well."""
    if plant_of(figure) == "healthy":
        return bool(figure["truth"] == "well")
    return plant_of(figure) in BY_CONSTRUCTION or figure["truth"] == "failed"


def detected(figure: Mapping[str, Any]) -> bool:
    """Whether an alarm from the plant's list was raised."""
    return any(verdict in PLANTS[plant_of(figure)] for verdict, _ in figure["alarms"])


def right(figure: Mapping[str, Any]) -> bool:
    """Whether the doctor was right about a run that counts."""
    return not figure["alarms"] if plant_of(figure) == "healthy" else detected(figure)


KINDS = {
    "series": ("stocks", "etth1", "sines", "seattle-weather", "co2", "sunspots", "macrodata", "us-employment"),
    "own pictures": ("faces", "birds", "shoes"),
    "mixtures": ("ring8",),
    "digits": ("mnist",),
}


def row(name: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """Return one row: failures detected, false alarms, and runs that do not count."""
    ill = [f for f in figures if plant_of(f) != "healthy" and counts(f)]
    well = [f for f in figures if plant_of(f) == "healthy" and counts(f)]
    rest = [f for f in figures if not counts(f)]
    return (
        f"| {name} | {interval(sum(map(detected, ill)), len(ill))} | {sum(bool(f['alarms']) for f in ill)} "
        f"| {interval(sum(bool(f['alarms']) for f in well), len(well))} | {len(rest)}, "
        f"{sum(bool(f['alarms']) for f in rest)} with an alarm |"
    )


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return a table by kind of data, and one by problem."""
    head = ["detected", "any alarm", "false alarms", "not counted"]
    lines = [f"| | {' | '.join(head)} |", "|---" * 5 + "|"]
    everything = [figure for figures in found.values() for figure in figures]
    for kind, names in KINDS.items():
        lines.append(row(kind, [figure for name in names for figure in found.get(name, ())]))
    lines.append(row("all", everything))
    lines.append(row("of them held out", [figure for figure in everything if figure["held_out"]]))
    lines += ["", f"| problem | {' | '.join(head)} |", "|---" * 5 + "|"]
    lines += [row(name, figures) for name, figures in found.items()]
    lines += ["", "| plant | runs | failed | detected | first alarm |", "|---|---|---|---|---|"]
    return [*lines, *by_plant(everything)]


def by_plant(figures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give one row a plant: failed, detected, the verdicts."""
    for plant in PLANTS:
        some = [f for f in figures if plant_of(f) == plant]
        ill = [f for f in some if counts(f)]
        words: dict[str, int] = {}
        for figure in ill:
            first = figure["alarms"][0][0] if figure["alarms"] else "none"
            words[first] = words.get(first, 0) + 1
        first_words = ", ".join(f"{word} {count}" for word, count in sorted(words.items(), key=lambda w: -w[1]))
        yield f"| {plant} | {len(some)} | {len(ill)} | {sum(map(detected, ill))} | {first_words} |"


def write() -> None:
    """Write the section between its marks."""
    found = {name: judged(name) for name in PROBLEMS if kept(name)}
    figures = [figure for some in found.values() for figure in some]
    machine, commits = runtime.machine(), ", ".join(sorted({figure["commit"] for figure in figures}))
    seconds = sum(figure["seconds"] for figure in figures)
    about = (
        f"{len(figures)} runs, {seconds / 60:.0f} minutes of one thread beside other work; {machine['processor']}, "
        f"torch {machine['torch']}. Trained at commits {commits}, judged at {commit()}."
    )
    write_section(PAGE, "planted", [*report(found), "", about])


def show(everything: bool) -> None:
    """Print the table, and the runs in which the doctor was wrong."""
    found = {name: [f for f in judged(name) if everything or not f["held_out"]] for name in PROBLEMS}
    print("\n".join(report(found)))
    for figure in (figure for figures in found.values() for figure in figures):
        if counts(figure) and not right(figure):
            print(figure["name"], figure["truth"], figure["alarms"], figure["verdict"])


def main() -> None:
    """Run, judge or write, as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "judge", "write"))
    parser.add_argument("problems", nargs="*", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--all", action="store_true", help="show the held-out settings too")
    words = parser.parse_args()
    if words.command == "run":
        run_all(words.problems)
    elif words.command == "judge":
        show(words.all)
    else:
        write()


if __name__ == "__main__":
    sys.exit(main())
