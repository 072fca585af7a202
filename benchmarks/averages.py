"""Makes the tables of docs/averages.md: what keeping averages of other lengths costs, and what a length is worth.

    python benchmarks/averages.py run [NAME ...]    measure what is not kept yet (some minutes each)
    python benchmarks/averages.py write             write the tables from what is kept

Costs are ratios of the processor time of steps made in turns in one process, with averages and without, and the time
that writing a moment takes. A length is chosen by `saddle average` on validation rows; then the run as it is and the
chosen average are measured by the report's own protocol, on test rows (images) or training windows (series). Kept
figures: benchmarks/figures/averages/.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, train, write_section

import saddlepoint
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.plan import locate
from saddlepoint.engine.profiles import INTERVAL, bytes_of
from saddlepoint.engine.storage.averages import write_average
from saddlepoint.lab.step_worker import trainer_of
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "averages"
# From where the script is called: the path goes into the figures, and no machine's folders belong there.
RUNS = Path("runs") / "averages"
PAGE = HERE.parent / "docs" / "averages.md"
TURNS, SECONDS, WRITES = 15, 2.0, 20


@dataclass(frozen=True)
class Cost:
    """Steps of a preset, with averages of other lengths and without."""

    name: str
    family: str
    preset: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Worth:
    """A training whose average is chosen afterwards."""

    name: str
    family: str
    data: str
    protocol: str
    request: dict[str, Any] = field(default_factory=dict)


ROWS: dict[str, Cost | Worth] = {
    row.name: row
    for row in (
        Cost("cost-gan", "gan", "mnist", (1, 28, 28)),
        Cost("cost-dcgan", "dcgan", "small", (1, 28, 28)),
        Cost("cost-timegan", "timegan", "increments", (24, 6)),
        Worth("gan-mnist-250k", "gan", "mnist", "fd", {"kimg": 250}),
        Worth("timegan-etth1", "timegan", "etth1", "discriminative-h32", {"budget": "6m"}),
        Worth("cgan-mnist-250k", "cgan", "mnist", "fd", {"kimg": 250}),
        Worth("dcgan-mnist-200k", "dcgan", "mnist", "fd", {"kimg": 200}),
        Worth("stylegan-mnist-100k", "stylegan", "mnist", "fd", {"kimg": 100}),
        Worth("r3gan-cifar10-jpeg-40k", "r3gan", "cifar10-jpeg", "kd", {"kimg": 40}),
    )
}


def run(row: Cost | Worth, named: bool) -> None:
    """Measure a row, unless it is kept already."""
    path = FIGURES / f"{row.name}.json"
    if named or not path.exists():
        found = cost(row) if isinstance(row, Cost) else worth(row)
        keep(path, asdict(row) | found, 1)


def cost(row: Cost) -> dict[str, Any]:
    """Return the ratio of the times of steps, turn by turn, and milliseconds of a step, an update, a moment written."""
    runtime.keep_freed_memory()
    runtime.use_threads(1)
    trainer = trainer_of(row.family, row.preset, row.shape, 0, "auto")
    state, last, profiles = trainer.state, trainer.stages[-1:], trainer.state.profiles
    assert profiles is not None

    def seconds(steps: int) -> float:
        # Of the processor, on one thread: other programs that take turns with this one count for nothing.
        started = time.process_time()
        for _ in range(steps):
            trainer.step(locate(last, state.step))
        return (time.process_time() - started) / steps

    seconds(2 * INTERVAL)
    one = seconds(2 * INTERVAL)
    steps, ratios = max(1, round(SECONDS / one / INTERVAL)) * INTERVAL, []
    for turn in range(TURNS):
        times = {}
        for kept in (True, False) if turn % 2 else (False, True):
            state.profiles = profiles if kept else None
            times[kept] = seconds(steps)
        ratios.append(times[True] / times[False])
    updates, moments = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(1, WRITES + 1):
            started = time.process_time()
            profiles.update(number * INTERVAL)
            updates.append(time.process_time() - started)
            started = time.process_time()
            write_average(Path(place), number, profiles.moment())
            moments.append(time.process_time() - started)
    print(f"{row.name}: {statistics.median(ratios):.4f} of the time without")
    return {
        "precision": trainer.precision.name, "megabytes": bytes_of(state.family) / 1e6, "ratios": ratios,
        "step_ms": one * 1e3, "update_ms": statistics.median(updates) * 1e3,
        "moment_ms": statistics.median(moments) * 1e3, "batch_size": trainer.feed.batch_size,
    }  # fmt: skip


def worth(row: Worth) -> dict[str, Any]:
    """Return what was chosen, and the report's own figure of the run as it is and of the chosen average."""
    torch.set_num_threads(1)
    trained, outcome = train(api.plan(row.family, row.data, threads=1, out=RUNS / row.name, **row.request))
    place = RUNS / f"{row.name}-best"
    if place.exists():
        sys.exit(f"{place} is there already; remove it")
    found = saddlepoint.average_run(trained.path, out=place, threads=1, say=print, measured=print)
    reports = {"present": trained.evaluate([row.protocol], threads=1)}
    if found.path is not None:
        reports["chosen"] = saddlepoint.load(found.path).evaluate([row.protocol], threads=1)
    figures = {
        name: [asdict(line) for line in report.results[0].rows if line.role == "model"]
        for name, report in reports.items()
    }
    print(found.verdict, {name: lines[0]["value"] for name, lines in figures.items()})
    return {
        "nimg": outcome.progress.nimg, "seconds": round(outcome.seconds, 1), "averaging": found.to_json(),
        "report": figures, "report_protocol": reports["present"].results[0].protocol,
    }  # fmt: skip


def write() -> None:
    """Write both tables."""
    rows = kept_rows((row, FIGURES / f"{name}.json") for name, row in ROWS.items())
    costs = [(row, found) for row, found in rows if isinstance(row, Cost)]
    lines = head_of(
        ("preset", "processor time of steps, with over without", "updates alone", "a moment written", "MB a moment")
    )
    for row, found in costs:
        ratios = found["ratios"]
        lines.append(line_of((
            f"`{row.family} {row.preset}`{found['mark']}",
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            f"{found['update_ms'] / (INTERVAL * found['step_ms']):.2%}",
            f"{found['moment_ms']:.1f} ms", f"{found['megabytes']:.1f}",
        )))  # fmt: skip
    write_section(PAGE, "costs", [*lines, "", measured_on(found for _, found in costs)])
    lines = []
    worths = [(row, found) for row, found in rows if isinstance(row, Worth)]
    for row, found in worths:
        chosen, trials = found["averaging"], found["averaging"]["trials"]
        lines += [
            f"`{row.family}` on {row.data}, {found['nimg'] / 1000:,.0f} kimg, seed 0, by {chosen['figure']}:",
            "",
            *head_of([trial["name"] for trial in trials]),
            line_of(f"{trial['value']:.3g}" for trial in trials),
            "",
            f"{chosen['verdict'][:1].upper()}{chosen['verdict'][1:]}. By the report's "
            f"`{found['report_protocol']}`: "
            + ", ".join(f"{name} average {values[0]['value']:.3g}" for name, values in found["report"].items())
            + ".",
            "",
        ]
    write_section(PAGE, "worth", [*lines, measured_on(found for _, found in worths)])


if __name__ == "__main__":
    run_or_write(ROWS, run, write, __doc__)
