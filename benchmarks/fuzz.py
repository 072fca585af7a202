"""Makes the table of damaged files in docs/notebook/reliability-faults.md (tests/e2e/fuzzing.py).

    python benchmarks/fuzz.py run [READER ...]    fuzz what is missing
    python benchmarks/fuzz.py write               write the table

Every reader gets 10,000 files first, then those of `MANY` 100,000. What became of them is kept as JSON after every
`CHUNK`; a reader goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, fields
from pathlib import Path

from records import head_of, keep, kept_rows, line_of, measured_on, write_section

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.e2e import fuzzing  # noqa: E402 - after the root of the repository is known
from tests.e2e.readers import READERS  # noqa: E402

FIGURES = HERE / "figures" / "fuzz"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-faults.md"
COUNTS = (10_000, 100_000)
CHUNK = 2_000
MANY = [name for name in READERS if name.startswith(("format", "network", "export of weights"))]
"""Readers of weights of others, and of further formats."""


def name_of(reader: str) -> str:
    """Return the name of a reader's file."""
    return reader.lower().replace(",", "").replace(" ", "-")


def run(reader: str, count: int) -> None:
    """Fuzz one reader until it has had so many files."""
    path = FIGURES / f"{name_of(reader)}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    found = fuzzing.Found(**{field.name: kept[field.name] for field in fields(fuzzing.Found) if kept})
    seconds = kept.get("seconds", 0.0)
    while found.count < count:
        started, before = time.monotonic(), len(found.problems)
        with tempfile.TemporaryDirectory(prefix="saddlepoint-fuzz-") as folder:
            found.add(fuzzing.fuzz(READERS[reader], min(CHUNK, count - found.count), found.count, Path(folder)))
        seconds = round(seconds + time.monotonic() - started, 1)
        keep(path, asdict(found) | {"seconds": seconds}, threads=1)
        print(f"{reader}: {found.count:,} files, {len(found.problems)} broken rules, {seconds:.0f} s", flush=True)
        for problem in found.problems[before : before + 5]:
            print(f"  {problem[:600]}", flush=True)


def write() -> None:
    """Write the section of the page between its marks."""
    found = dict(kept_rows((reader, FIGURES / f"{name_of(reader)}.json") for reader in READERS))
    lines = head_of(
        ("reader", "files", "read all the same", "refused in words", "broken rules", "slowest", "memory grew by")
    )
    totals = [0, 0, 0, 0]
    for reader, kept in found.items():
        row = [kept["read"] + kept["refused"] + len(kept["problems"]), kept["read"], kept["refused"]]
        row.append(len(kept["problems"]))
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        largest = (f"{kept['slowest']:.2f} s", f"{kept['megabytes']:.0f} MiB")
        lines.append(line_of((reader, *(f"{n:,}" for n in row), *largest)))
    lines.append(line_of(("**all**", *(f"**{n:,}**" for n in totals))) + " | |")
    seconds = sum(kept["seconds"] for kept in found.values())
    lines += ["", f"{seconds / 60:.0f} min in all, one thread. {measured_on(found.values())}"]
    write_section(PAGE, "fuzz", lines)


def main() -> None:
    """Obey the command line."""
    match sys.argv[1:]:
        case ["run", *names] if set(names) <= READERS.keys():
            for count in COUNTS:
                for reader in names or READERS:
                    if count == COUNTS[0] or reader in MANY:
                        run(reader, count)
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
