"""The table with which docs/reliability.md begins: what was tried to break, how often, what broke, how slow it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faults
import mutation_tables
import server_faults
import server_schema
import soak
from records import head_of, line_of

HERE = Path(__file__).parent
FIGURES = HERE / "figures"
CURVES = HERE.parent / "tests" / "golden" / "curves.json"


def table() -> list[str]:
    """Return the lines of the table."""
    heads = ["what was tried", "how many", "broken or lost", "slowest", "again by (in `benchmarks/`)"]
    return [*head_of(heads), *map(line_of, (_faults(), _files(), *_server(), _intervals(), _curves(), _mistakes()))]


def _faults() -> list[str]:
    found = faults.totals()
    how_many = f"**{found['faults']:,}**, {found['kinds']} kinds in {found['states']} states"
    broken = f"**{found['broken']}** rules, **{found['lost']}** things saved"
    slowest = f"{found['slowest']:.1f} s until it is at work again ({found['slowest_cell']})"
    return ["faults in real commands: kills, disks, power, bits", how_many, broken, slowest, "`faults.py run`"]


def _files() -> list[str]:
    found = [json.loads(path.read_text()) for path in (FIGURES / "fuzz").glob("*.json")]
    files = sum(one["read"] + one["refused"] + len(one["problems"]) for one in found)
    broken, slowest = sum(len(one["problems"]) for one in found), max(one["slowest"] for one in found)
    how_many = f"**{files:,}**, {len(found)} readers"
    return ["damaged files of strangers", how_many, f"**{broken}**", f"{slowest:.1f} s for one", "`fuzz.py run`"]


def _server() -> list[list[str]]:
    stops, hostile, studio = server_faults.rows()
    return [
        _requests(soak.row(), "", "soak.py run RUN"),
        _requests(stops, ", {} stops", "server_faults.py run RUN"),
        _requests(hostile, ", {} kinds of clients", "server_faults.py run RUN"),
        _requests(studio, ", {} kinds of clients", "server_faults.py run RUN"),
        _requests(server_schema.row(), "", "server_schema.py run"),
    ]


def _requests(found: dict[str, Any], cases: str, script: str) -> list[str]:
    how_many = f"**{found['how many']:,}**" + cases.format(found.get("cases"))
    slowest = f"{found['slowest']:.1f} s for an answer" if "slowest" in found else ""
    return [found["what"], how_many, f"**{found['lost']}**", slowest, f"`{script}`"]


def _intervals() -> list[str]:
    # Those called fits compare biases: other ways of extrapolating are among them, which promise nothing.
    paths = [path for path in sorted((FIGURES / "coverage").glob("*.json")) if not path.name.startswith("fits")]
    cases = [json.loads(path.read_text())["figures"] for path in paths]
    covered = [part["covered"] for case in cases for part in case.values() if part["covered"] is not None]
    low, wide = sum(share < 0.9 for share in covered), [f"{share:.1%}" for share in sorted(covered) if share > 0.99]
    how_many = f"**{len(covered)}**, lowest {min(covered):.1%}"
    broken = f"**{low}** too narrow, {len(wide)} too wide ({', '.join(wide)})"
    return ["simulated coverages of 95% intervals", how_many, broken, "", "`coverage.py run`"]


def _curves() -> list[str]:
    kept = json.loads(CURVES.read_text())
    torches = sorted({one["torch"].split("+")[0] for one in kept["beside"]} - {kept["machine"]["torch"].split("+")[0]})
    how_many = f"**{len(kept['curves'])}** families and presets"
    held = f"**0**: the same bits on PyTorch {kept['machine']['torch'].split('+')[0]}, within tolerances on "
    script = "`pytest tests/contract/test_golden_curves.py`"
    return ["golden curves: log and weights after some steps", how_many, held + ", ".join(torches), "", script]


def _mistakes() -> list[str]:
    tried, _, caught, plain, left = mutation_tables.whole()
    share = mutation_tables.share(caught, tried - plain)
    how_many = f"**{tried}**, {plain} of them without consequence"
    return ["small mistakes in the code", how_many, f"**{left}** not noticed; {share} are", "", "`mutation.py run`"]
