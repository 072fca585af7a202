"""Reads public tables as their packages ship them, and makes the table in docs/data.md of what is read, asked, refused.

python benchmarks/public_tables.py check [NAME ...]   read tables again and compare with tests/public_tables.toml
python benchmarks/public_tables.py train [NAME ...]   train on what is missing, 5 minutes and one thread each
python benchmarks/public_tables.py write              write the tables of docs/data.md

Tables are fetched from packages with fixed versions into the cache, or $PUBLIC_TABLES; they are no part of the
repository.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from records import commit, head_of, line_of, write_section

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.e2e.public_tables import PACKAGES, Expected, expectations, fetch, judge  # noqa: E402

from saddlepoint._files import write_atomically  # noqa: E402 - after the number of threads is known
from saddlepoint.data.cache import cache_dir  # noqa: E402

KEPT = HERE / "figures" / "public_tables.json"
DOCS = HERE.parent / "docs"
WORDS = {"read": "read", "asked": "asked", "refused": "refused", "wrong": "**wrong**"}


def folder() -> Path:
    """Return where the tables are."""
    return Path(os.environ.get("PUBLIC_TABLES") or cache_dir() / "public_tables")


def check(names: list[str]) -> None:
    """Read tables, say what is wrong, and keep all verdicts; ends with 1 if a reading is wrong."""
    fetch(folder())
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    wrong = 0
    for one in chosen(names):
        verdict = judge(folder(), one)
        kept[one.name] = asdict(verdict) | {"commit": commit()}
        wrong += verdict.outcome == "wrong"
        print(f"{verdict.outcome:8} {one.name}", *verdict.problems, sep="\n         - ", flush=True)
    order = [one.name for one in expectations()]
    kept = {name: kept[name] for name in order if name in kept}
    write_atomically(KEPT, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    sys.exit(f"{wrong} tables are read wrongly" if wrong else 0)


def chosen(names: list[str]) -> list[Expected]:
    """Return the tables of these names, all without any; a name may be the beginning of several."""
    found = [one for one in expectations() if not names or one.name.startswith(tuple(names))]
    if not found:
        sys.exit(f"no table is called {', '.join(names)}")
    return found


def write() -> None:
    """Write the table of docs/data.md between its marks."""
    kept = json.loads(KEPT.read_text())
    tables = [one for one in expectations() if one.name in kept]
    counts = {word: sum(kept[one.name]["outcome"] == word for one in tables) for word in WORDS}
    lines = [
        f"{len(tables)} tables of {', '.join(package.replace('==', ' ') for package in PACKAGES.values())}: "
        + ", ".join(f"{count} {word}" for word, count in counts.items())
        + ".",
        "",
        *head_of(("table", "", "time", "step", "series", "what was said")),
    ]
    lines += [_line(one, kept[one.name]) for one in tables]
    write_section(DOCS / "data.md", "public tables", lines)


def _line(one: Expected, verdict: dict[str, Any]) -> str:
    outcome = verdict["outcome"]
    read = outcome == "read" or (outcome == "asked" and "read" in one.may)
    time = ", ".join(f"`{name}`" if name else "row names" for name in one.time)
    roles = (time or "none", one.step or "", f"`{one.series}`" if one.series else "") if read else ("", "", "")
    return line_of((one.name, WORDS[outcome], *roles, _short(one, verdict)))


def _short(one: Expected, verdict: dict[str, Any]) -> str:
    """Return the question or the refusal in its first sentence, or what a reading leaves out."""
    said = verdict["problems"] or verdict["said"]
    if verdict["outcome"] != "read":
        text = str(said[0]).splitlines()[0].replace(str(folder()), "").replace("|", "\\|")
        text = re.sub(r"\S*/([^/\s]+\.csv)", r"\1", text)
        return text if len(text) < 200 else text[:197] + "..."
    return one.why


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["help"]
    if command == "check":
        check(rest)
    elif command == "write":
        write()
    else:
        sys.exit(__doc__)
