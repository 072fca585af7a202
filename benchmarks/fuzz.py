"""Makes the table of damaged files in docs/notebook/reliability-faults.md (tests/e2e/fuzzing.py).

    python benchmarks/fuzz.py run [READER ...]    fuzz what is missing
    python benchmarks/fuzz.py again               put what broke a rule before the readers once more
    python benchmarks/fuzz.py write               write the table

Every reader gets 10,000 files first, then those of `MANY` 100,000. What became of them is kept as JSON after every
`CHUNK`; a reader goes on where it was. An input is drawn from its number: one that broke a rule and does so no longer
counts as what it is now, and among the mended.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

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


def kept_of(reader: str) -> tuple[Path, dict[str, Any], fuzzing.Found]:
    """Return a reader's file, what it holds, and what became of the inputs."""
    path = FIGURES / f"{name_of(reader)}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    return path, kept, fuzzing.Found(**{field.name: kept[field.name] for field in fields(fuzzing.Found) if kept})


def put(reader: str, count: int, first: int) -> fuzzing.Found:
    """Put so many inputs before a reader, from the one with this number on."""
    with tempfile.TemporaryDirectory(prefix="saddlepoint-fuzz-") as folder:
        return fuzzing.fuzz(READERS[reader], count, first, Path(folder))


def run(reader: str, count: int) -> None:
    """Fuzz one reader until it has had so many files."""
    path, kept, found = kept_of(reader)
    seconds, mended = kept.get("seconds", 0.0), kept.get("mended", 0)
    while found.count < count:
        started, before = time.monotonic(), len(found.problems)
        found.add(put(reader, min(CHUNK, count - found.count), found.count))
        seconds = round(seconds + time.monotonic() - started, 1)
        keep(path, asdict(found) | {"seconds": seconds, "mended": mended}, threads=1)
        print(f"{reader}: {found.count:,} files, {len(found.problems)} broken rules, {seconds:.0f} s", flush=True)
        for problem in found.problems[before : before + 5]:
            print(f"  {problem[:600]}", flush=True)


def again(reader: str) -> None:
    """Put what broke a rule before a reader once more."""
    path, kept, found = kept_of(reader)
    problems, found.problems = found.problems, []
    for problem in problems:
        number = re.search(r": (\d+), [^:]+: \[Edit", problem)
        assert number is not None, problem
        found.add(put(reader, 1, int(number[1])))
    if mended := len(problems) - len(found.problems):
        keep(path, kept | asdict(found) | {"mended": kept.get("mended", 0) + mended}, threads=1)
    if problems:
        print(f"{reader}: of {len(problems)} broken rules {mended} are mended", flush=True)


def write() -> None:
    """Write the section of the page between its marks."""
    found = dict(kept_rows((reader, FIGURES / f"{name_of(reader)}.json") for reader in READERS))
    lines = head_of((
        "reader", "files", "read all the same", "refused in words", "broken rules", "mended since", "slowest",
        "memory grew by",
    ))  # fmt: skip
    totals = [0, 0, 0, 0, 0]
    for reader, kept in found.items():
        row = [kept["read"] + kept["refused"] + len(kept["problems"]), kept["read"], kept["refused"]]
        row += [len(kept["problems"]), kept.get("mended", 0)]
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
        case ["again"]:
            for reader in READERS:
                again(reader)
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
