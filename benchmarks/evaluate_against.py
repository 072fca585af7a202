"""What `saddle evaluate` takes beside another installation: in turns, with nothing kept and again with what that kept.

    python benchmarks/evaluate_against.py ../before runs/gan-mnist [--turns 3] [--threads 1]

Each turn gives either installation a cache of its own, empty: data is read, classifiers are trained,
control rows are measured. Then it evaluates again. Runs must be such as both can load: train them with the older one.
Writes benchmarks/figures/evaluate-against/RUN.json: seconds of clock and processor
and peak memory of both in every turn, and medians of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "figures" / "evaluate-against"
HERE = Path(__file__).parents[1]
TIMES = ("first", "again")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the full report of a run beside another installation.")
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("run", type=Path, help="a run that both can load")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", default="1", help="a number; default: the default of the command")
    args = parser.parse_args()
    turns = []
    for number in range(args.turns):
        order = (("other", args.other), ("this", HERE))
        # Whoever comes second finds files in the page cache.
        turn = {name: measured(tree, args.run, args.threads) for name, tree in order[:: -1 if number % 2 else 1]}
        turns.append(turn)
        print(f"turn {number + 1}: " + ", ".join(_line(turn, part) for part in TIMES), flush=True)
    figure = {
        "run": args.run.name,
        "commits": {"other": _commit(args.other), "this": _commit(HERE)},
        "threads": args.threads,
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        **{name: {part: _median(turns, part, name) for part in TIMES} for name in ("seconds", "processor_seconds")},
        "turns": turns,
    }
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / f"{args.run.name}-threads-{args.threads}.json"
    path.write_text(json.dumps(figure, indent=1) + "\n")
    print(f"ratios: {figure['seconds']}, of processor time {figure['processor_seconds']}; {path}")


def measured(tree: Path, run: Path, threads: str) -> dict[str, dict[str, Any]]:
    """Evaluate twice with a cache of its own, and return seconds, peak memory and seconds by protocol of both."""
    with tempfile.TemporaryDirectory() as folder:
        return {part: _evaluated(tree, run, threads, Path(folder)) for part in TIMES}


def _evaluated(tree: Path, run: Path, threads: str, folder: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "SADDLEPOINT_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "saddlepoint", "evaluate", str(run), "--out", str(folder / "report")]
    if threads != "default":
        command += ["--threads", threads]
    else:
        environment.pop("OMP_NUM_THREADS", None)
    start = time.perf_counter()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} in {tree}:\n{(folder / 'log').read_text()[-2000:]}")
    lines = [json.loads(line) for line in (folder / "report" / "metrics.jsonl").read_text().splitlines()]
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "model_seconds": {line["protocol"]: line["seconds"] for line in lines if "seconds" in line},
    }


def _median(turns: list[dict[str, Any]], part: str, name: str) -> float:
    """Return the median of how many times as long the other one takes; processor time hardly sees other programs."""
    return round(statistics.median(_ratio(turn, part, name) for turn in turns), 2)


def _ratio(turn: dict[str, Any], part: str, name: str = "seconds") -> float:
    ratio: float = turn["other"][part][name] / turn["this"][part][name]
    return ratio


def _line(turn: dict[str, Any], part: str) -> str:
    other, this = (turn[name][part] for name in ("other", "this"))
    return (
        f"{part} {other['seconds']:.1f} s and {this['seconds']:.1f} s here, ratio {_ratio(turn, part):.2f} "
        f"({_ratio(turn, part, 'processor_seconds'):.2f} of processor time), "
        f"{other['peak_mib']} and {this['peak_mib']} MiB"
    )


def _commit(tree: Path) -> str:
    found = subprocess.run(["git", "-C", tree, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()


if __name__ == "__main__":
    main()
