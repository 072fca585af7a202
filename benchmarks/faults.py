"""Makes the table of faults in docs/notebook/reliability-faults.md (tests/e2e/campaign).

    python benchmarks/faults.py run [CELL ...]    put in what is missing, such as killed-train; a finished one is kept
    python benchmarks/faults.py write             write the table

Faults are put into processes forked from this one; some kinds mount file systems and need root for that, the loss of
power needs strace. `totals` gives how many there were, what was lost, and the slowest recovery.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from records import head_of, keep, kept_rows, line_of, measured_on, write_section

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

FIGURES = HERE / "figures" / "faults"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-faults.md"
SEED = 1


def run(names: Iterable[str]) -> None:
    """Put in the faults of the cells that are missing: every kind in every state that it can meet."""
    from tests.e2e.campaign.cells import CELLS, STATES, inject
    from tests.e2e.campaign.template import make_template

    known = {cell.name: cell for cell in CELLS}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown cell '{unknown[0]}'; choose from: {', '.join(known)}")
    wanted = [known[name] for name in names] if names else list(CELLS)
    missing = [cell for cell in wanted if not (FIGURES / f"{cell.name}.json").exists()]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="saddlepoint-faults-") as folder:
        states = dict.fromkeys(cell.state for cell in missing)
        template = make_template(Path(folder), [STATES[name] for name in states])
        for cell in missing:
            started = time.monotonic()
            faults = [inject(cell.kind, cell.state, 1000 * SEED + number, template) for number in range(cell.count)]
            seconds = round(time.monotonic() - started, 1)
            found = {"kind": cell.kind, "state": cell.state, "faults": [asdict(f) for f in faults], "seconds": seconds}
            keep(FIGURES / f"{cell.name}.json", found, threads=1)
            broken = [fault for fault in faults if fault.problem]
            print(f"{cell.name}: {cell.count} faults, {len(broken)} broken rules, {seconds:.0f} s", flush=True)
            for fault in broken:
                print(f"  seed {fault.seed}: {fault.problem}", flush=True)


def kept() -> list[dict[str, Any]]:
    """Return what is kept of each kind in each state."""
    return [found for _, found in kept_rows((path.stem, path) for path in sorted(FIGURES.glob("*.json")))]


def totals(found: Iterable[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Return what the campaign came to.

    Args:
        found: as `kept` gives it; None: all of it.

    Returns:
        faults: how many; states: in how many states; kinds: of how many kinds; lost: things saved that were gone;
        broken: rules that were broken; slowest: the longest recovery in seconds, and its cell.
    """
    cells = kept() if found is None else list(found)
    faults = [(fault["recovery"], cell, fault) for cell in cells for fault in cell["faults"]]
    recovery, cell, _ = max(faults, key=lambda one: one[0])
    return {
        "faults": len(faults), "states": len({c["state"] for c in cells}), "kinds": len({c["kind"] for c in cells}),
        "lost": sum(fault["lost"] for *_, fault in faults), "broken": sum(bool(f["problem"]) for *_, f in faults),
        "slowest": recovery, "slowest_cell": f"{cell['kind']}, {cell['state']}",
    }  # fmt: skip


def write() -> None:
    """Write the sections of the page between their marks."""
    from tests.e2e.campaign.cells import KINDS, STATES

    cells = {(found["kind"], found["state"]): found for found in kept()}
    states = [name for name in STATES if any(state == name for _, state in cells)]
    lines = head_of(["fault", *states, "all", "broken rules", "lost", "slowest recovery"])
    for kind in [kind for kind in KINDS if any(one == kind for one, _ in cells)]:
        own = [cells[kind, state] for state in states if (kind, state) in cells]
        counts = [str(len(cells[kind, s]["faults"])) if (kind, s) in cells else "" for s in states]
        lines.append(line_of([kind, *counts, *_summed(own)]))
    columns = [str(sum(len(c["faults"]) for (_, s), c in cells.items() if s == state)) for state in states]
    lines.append(line_of(["**all**", *(f"**{count}**" for count in columns), *map(_bold, _summed(cells.values()))]))
    seconds = sum(found["seconds"] for found in cells.values())
    lines += ["", f"{seconds / 60:.0f} min in all, one thread. {measured_on(cells.values())}"]
    write_section(PAGE, "faults", lines)
    told = head_of(["kind", "what is done"])
    told += [line_of([kind, _first(make)]) for kind, make in KINDS.items()]
    told += ["", *head_of(["state", "what is disturbed"])]
    told += [line_of([name, _first(type(state))]) for name, state in STATES.items()]
    write_section(PAGE, "kinds", told)


def _summed(found: Iterable[Mapping[str, Any]]) -> list[str]:
    all_of = totals(found)
    slowest = f"{all_of['slowest']:.1f} s" if all_of["slowest"] else ""  # some faults need no restart
    return [f"{all_of['faults']:,}", str(all_of["broken"]), str(all_of["lost"]), slowest]


def _bold(word: str) -> str:
    return f"**{word}**"


def _first(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", *words]:
            run(words)
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)
