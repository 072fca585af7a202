"""How long the full report of a run takes, with nothing kept and again with features and control rows kept.

    python benchmarks/evaluation.py RUN [--threads 2]

Writes benchmarks/figures/evaluation.json: seconds of both, their ratio, the parts, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime
from saddlepoint.evaluation import evaluate
from saddlepoint.run.run import load

FIGURE = Path(__file__).parent / "figures" / "evaluation.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the full report of a run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    runtime.use_threads(args.threads)
    run = load(args.run)
    data = run.dataset()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "again"):
            start = time.perf_counter()
            report = evaluate(run.subject(), data, cache_dir=folder, progress=print)
            found.append(round(time.perf_counter() - start, 1))
            print(f"{name}: {found[-1]} s")
    figure = {
        "data": data.name,
        "samples": len(data.splits["test"]),
        "first_seconds": found[0],
        "again_seconds": found[1],
        "ratio": round(found[0] / found[1], 2),
        "model_seconds": {result.protocol: result.seconds for result in report.results},
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "machine": runtime.machine(),
    }
    write_atomically(FIGURE, json.dumps(figure, indent=1) + "\n")


if __name__ == "__main__":
    main()
