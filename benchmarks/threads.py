"""Makes the table of threads in docs/notebook/performance.md: automatic and fixed numbers beside other programs.

    python benchmarks/threads.py run [NAME ...]    measure what is not kept yet (twenty minutes, on an idle machine)
    python benchmarks/threads.py write             write the table from what is kept
    python benchmarks/threads.py worker CASE N     what `run` starts: steps of a case with N threads, or auto

A name is a case and a number of busy programs, such as dcgan-2. All choices are measured in turns of one run, each in a
process of its own that sleeps while others have their turn. Turns of auto hold all that auto costs. Kept figures:
benchmarks/figures/threads/.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import head_of, keep, kept_rows, line_of, run_or_write, write_section

from saddlepoint.core import openmp
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.threads import ChosenThreads
from saddlepoint.lab.bench_cases import Case, engine_step

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "threads"
PAGE = HERE.parent / "docs" / "notebook" / "performance.md"
CASES = {
    "gan": Case("gan", "gan", "mnist", (1, 28, 28), "`gan`, preset `mnist`"),
    "dcgan": Case("dcgan", "dcgan", "small", (3, 32, 32), "`dcgan` 32x32, batch 16", {"batch_size": 16}),
    "stylegan": Case("stylegan", "stylegan", "tiny-32", (3, 32, 32), "`stylegan`, preset `tiny-32`"),
    "timegan": Case("timegan", "timegan", "increments", (24, 6), "`timegan`, preset `increments`"),
}
BUSY = (0, 1, 2, 4)
TURNS, SECONDS = 3, 3.0
TARGET = 0.8
"""Of the speed of the best fixed number."""

WAITS = {
    "default": {"GOMP_SPINCOUNT": "300000"},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
}
"""All cores, with threads not waiting as by `core.openmp`: turning in place as by default, not, or shorter."""


@dataclass(frozen=True)
class Row:
    """A case beside a number of busy programs."""

    case: str
    busy: int

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FIGURES / f"{self.case}-{self.busy}.json"


ROWS = {f"{case}-{busy}": Row(case, busy) for case in CASES for busy in BUSY}


def worker(name: str, count: str) -> None:
    """Make steps for as many seconds as each line of standard input says; print steps a second and threads in use."""
    runtime.keep_freed_memory()
    step, made = engine_step(CASES[name]), 0
    chosen = ChosenThreads(runtime.read_threads(count))
    chosen.restore(list)
    trainer = step()
    print("ready", flush=True)
    for line in sys.stdin:
        started, before = time.perf_counter(), made
        while (passed := time.perf_counter() - started) < float(line):
            # The thread that asks is the one that trains, as in the loop.
            if count == "auto":
                position = trainer.stages[-1]
                chosen.before_step(made, made, position.name, _rehearsal(trainer))
            with chosen.timed():
                step()
            made += 1
        print(json.dumps({"rate": (made - before) / passed, "threads": chosen.count}), flush=True)


def _rehearsal(trainer: Any) -> Callable[[], None]:
    from saddlepoint.engine.plan import locate

    def rehearse() -> None:
        with trainer.state.unchanged():
            trainer.rehearse(locate(trainer.stages, trainer.state.step))

    return rehearse


def run(row: Row, named: bool) -> None:
    """Measure all choices in turns, and keep them."""
    if row.path.exists() and not named:
        return
    cores = os.cpu_count() or 1
    fixed = [n for n in (1, 2, 4, 8, 16, 32, 64) if n < cores] + [cores]
    choices = {"auto": "auto", **{str(n): str(n) for n in fixed}, **dict.fromkeys(WAITS, str(cores))}
    rates: dict[str, list[float]] = {choice: [] for choice in choices}
    used = list[int]()
    with _busy(row.busy), _workers(row.case, choices) as workers:
        for _ in range(TURNS):
            for choice, process in workers.items():
                told = json.loads(_asked(process, f"{SECONDS}\n"))
                rates[choice].append(told["rate"])
                if choice == "auto":
                    used.append(told["threads"])
    found = {name: statistics.mean(values) for name, values in rates.items()}
    best = max(found[str(n)] for n in fixed)
    print(f"{row.case}-{row.busy}: auto {found['auto'] / best:.2f} of the best; {used}; {found}", flush=True)
    keep(row.path, {"rates": rates, "used": used, "best": best, "cores": cores}, threads=cores)


def _asked(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline()


@contextmanager
def _workers(case: str, choices: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    found: dict[str, subprocess.Popen[str]] = {}
    kept = {name: value for name, value in os.environ.items() if name not in (*openmp.CHOICES, "OMP_NUM_THREADS")}
    try:
        for choice, count in choices.items():
            found[choice] = subprocess.Popen(
                [sys.executable, __file__, "worker", case, count], env={**kept, **WAITS.get(choice, {})},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        for process in found.values():
            assert process.stdout is not None
            process.stdout.readline()
        yield found
    finally:
        for process in found.values():
            process.kill()


@contextmanager
def _busy(number: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()


def write() -> None:
    """Write the table."""
    kept = kept_rows((row, row.path) for row in ROWS.values())
    if not kept:
        sys.exit("nothing is kept yet; run it first")
    fixed = [name for name in kept[0][1]["rates"] if name not in ("auto", *WAITS)]
    lines = head_of(
        ["case", "busy programs", "auto, of the best fixed", "threads that auto took"]
        + [f"{n}, steps/s" for n in fixed]
        + [f"all cores, waiting: {wait}" for wait in WAITS]
    )
    worst = 2.0
    for row, found in kept:
        mean = {name: statistics.mean(rates) for name, rates in found["rates"].items()}
        share = mean["auto"] / found["best"]
        worst = min(worst, share)
        cells = [CASES[row.case].what + found["mark"], str(row.busy), f"**{share:.2f}**", _shown(found["used"])]
        lines.append(line_of([*cells, *(f"{mean[name]:.1f}" for name in (*fixed, *WAITS))]))
    about = kept[0][1]
    reached = "reached" if worst >= TARGET else "**missed**"
    text = (
        f"`python benchmarks/threads.py run` on {about['machine']['processor']}, {about['cores']} cores, torch "
        f"{about['machine']['torch']}, commit {about['commit']}: means of {TURNS} turns of {SECONDS:g} s. Asked for: "
        f"never below {TARGET} of the best fixed number; the least is {worst:.2f}: {reached}."
    )
    write_section(PAGE, "threads", [text, "", *lines])


def _shown(used: list[int]) -> str:
    return ", ".join(map(str, dict.fromkeys(used)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:4])
    else:
        run_or_write(ROWS, run, write, __doc__)
