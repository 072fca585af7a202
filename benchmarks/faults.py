"""Makes the table of faults in docs/notebook/reliability-faults.md (tests/e2e/campaign.py).

    python benchmarks/faults.py run [KIND ...]    inject what is missing; a finished kind is kept as JSON
    python benchmarks/faults.py write             write the table

Faults are put into processes forked from this one; some kinds mount file systems and need root for that.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from records import head_of, keep, kept_rows, measured_on, run_or_write, write_section

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.e2e import campaign  # noqa: E402 - after the root of the repository is known

FIGURES = HERE / "figures" / "faults"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-faults.md"
COUNT = 210
SEED = 1


def name_of(kind: str) -> str:
    """Return the name of a kind's file."""
    return kind.replace(" ", "-")


def run(kind: str, named: bool) -> None:
    """Inject a kind's share of the faults."""
    path = FIGURES / f"{name_of(kind)}.json"
    if path.exists():
        return
    total = sum(share for _, share in campaign.KINDS.values())
    count = -(-COUNT * campaign.KINDS[kind][1] // total)
    with tempfile.TemporaryDirectory(prefix="saddlepoint-faults-") as folder:
        os.environ["SADDLEPOINT_CACHE_DIR"] = f"{folder}/cache"
        template, started = campaign.make_template(Path(folder)), time.monotonic()
        faults = [campaign.inject(kind, 1000 * SEED + number, template) for number in range(count)]
        seconds = time.monotonic() - started
    found = {"faults": [asdict(fault) for fault in faults], "seconds": round(seconds, 1)}
    keep(path, found, threads=1)
    print(f"{kind}: {count} faults, {sum(bool(f.problem) for f in faults)} broken rules, {seconds:.0f} s", flush=True)
    for fault in faults:
        if fault.problem:
            print(f"  seed {fault.seed}: {fault.problem}", flush=True)


def write() -> None:
    """Write the section of the page between its marks."""
    found = dict(kept_rows((kind, FIGURES / f"{name_of(kind)}.json") for kind in campaign.KINDS))
    lines = head_of(("fault", "what is done", "faults", "broken rules", "lost checkpoints"))
    totals = [0, 0, 0]
    for kind, kept in found.items():
        faults = kept["faults"]
        row = [len(faults), sum(bool(f["problem"]) for f in faults), sum(f["lost"] for f in faults)]
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        what = (campaign.KINDS[kind][0].__doc__ or "").strip().splitlines()[0]
        lines.append(f"| {kind} | {what} | {row[0]} | {row[1]} | {row[2]} |")
    lines.append(f"| **all** | | **{totals[0]}** | **{totals[1]}** | **{totals[2]}** |")
    seconds = sum(kept["seconds"] for kept in found.values())
    lines += ["", f"{seconds:.0f} s in all, one thread. {measured_on(found.values())}"]
    write_section(PAGE, "faults", lines)


if __name__ == "__main__":
    run_or_write({kind: kind for kind in campaign.KINDS}, run, write, __doc__)
