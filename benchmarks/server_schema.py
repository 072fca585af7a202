"""Makes the figures on the server's own description: schemathesis asks every operation of /openapi.json.

    python benchmarks/server_schema.py run [--examples 300]     what is there already is not done again
    python benchmarks/server_schema.py write                    write the table

Servers of four kinds of runs, made here in one to three steps: without and with labels, of time series, of translation.
The checks are all that schemathesis has: no answer with 5xx, status, type, headers and body as described, what does not
fit refused, what fits taken. The studio has no description: it answers its own pages only, through NiceGUI's socket.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from http_load import serving
from records import commit, head_of, line_of, write_section

import saddlepoint
from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "server-schema.json"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-server.md"
SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
KINDS = ("without labels", "with labels", "time series", "translation")


def make(kind: str, folder: Path) -> Path:
    """Make a run of a kind."""
    out = folder / "run"
    if kind == "without labels":
        saddlepoint.train("gan", data="digits", steps=3, options=SMALL, threads=1, out=out)
    elif kind == "with labels":
        saddlepoint.train("cgan", data="digits", steps=3, options=SMALL, threads=1, out=out)
    elif kind == "time series":
        saddlepoint.train("timegan", data="sines", steps=3, threads=1, out=out)
    else:
        x, y = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8), np.arange(64) % 2
        small = {"batch_size": 8, "width": 8, "blocks": 1, "discriminator_width": 8}
        saddlepoint.train("stargan", data=(x, y), steps=1, threads=1, out=out, options=small)
    return out


def fuzzed(port: int, examples: int, folder: Path, kind: str) -> dict[str, Any]:
    """Return what schemathesis counts, and the last lines of what it says where something failed."""
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json", "--seed", "1"]
    words += ["--max-examples", str(examples), "--request-timeout", "30", "--continue-on-failure", "--no-color"]
    # A description cannot say that a text has to be a picture: most texts in its place are refused, rightly.
    words += ["--exclude-checks", "positive_data_acceptance"] if kind == "translation" else []
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    text = done.stdout
    cases = re.search(r"([\d,]+) generated", text)
    operations = re.search(r"([\d,]+) tested|[Tt]ested: ([\d,]+)", text)
    return {
        "cases": int(cases[1].replace(",", "")) if cases else 0,
        "operations": int(next(filter(None, operations.groups())).replace(",", "")) if operations else 0,
        "failed": int(done.returncode != 0),
        "words": text[-4000:] if done.returncode else text[-700:],
    }


def measure(examples: int) -> None:
    """Do what was not done yet."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"kinds": {}}
    for kind in KINDS:
        if kind in found["kinds"]:
            continue
        with tempfile.TemporaryDirectory() as folder, serving(make(kind, Path(folder))) as (port, _):
            found["kinds"][kind] = fuzzed(port, examples, Path(folder), kind) | {
                "commit": commit(),
                "examples": examples,
            }
        found["machine"] = runtime.machine()
        write_atomically(FIGURES, json.dumps(found, indent=1) + "\n")
        print(kind, found["kinds"][kind], flush=True)


def row() -> dict[str, Any]:
    """Return what the table of all reliability needs: how many requests, and the servers with a finding."""
    kinds = json.loads(FIGURES.read_text())["kinds"].values()
    return {
        "what": "requests by the server's description",
        "how many": sum(one["cases"] for one in kinds),
        "lost": sum(one["failed"] for one in kinds),
    }


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    lines = head_of(["server of a run", "operations", "requests", "findings"])
    for kind, one in found["kinds"].items():
        lines.append(line_of([kind, str(one["operations"]), f"{one['cases']:,}", "some" if one["failed"] else "none"]))
    commits = sorted({one["commit"] for one in found["kinds"].values()})
    lines += [
        "",
        "schemathesis, one seed, all checks; of translation without the one that what fits is taken: a description "
        f"cannot say that a text is a picture. The studio has no description. Commits: {', '.join(commits)}.",
    ]
    write_section(PAGE, "server-schema", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "write"))
    parser.add_argument("--examples", type=int, default=300)
    words = parser.parse_args()
    if words.what == "write":
        write()
    else:
        measure(words.examples)


if __name__ == "__main__":
    main()
