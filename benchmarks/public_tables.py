"""Reads public tables as their packages ship them, and makes the table of what is read, asked, refused.

python benchmarks/public_tables.py check [NAME ...]   read tables again and compare with tests/public_tables.toml
python benchmarks/public_tables.py train [NAME ...]   train on what is missing, 5 minutes and one thread each
python benchmarks/public_tables.py write              write the tables of docs/notebook/public-tables.md

Tables are fetched from packages with fixed versions into the cache, or $PUBLIC_TABLES; they are no part of the
repository.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from records import commit, facts_of, head_of, keep, kept_rows, line_of, measured_on, train, write_section

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.e2e.public_tables import (  # noqa: E402
    PACKAGES,
    Expected,
    expectations,
    fetch,
    judge,
    right_options,
    times_of,
)

from saddlepoint.core.files import write_atomically  # noqa: E402
from saddlepoint.data.cache import cache_dir  # noqa: E402
from saddlepoint.run import api  # noqa: E402 - after the number of threads is known

FIGURES = HERE / "figures" / "public_tables"
BUDGET = "5m"
WINDOWS = 1000
TRAINED = (
    "vega/seattle-weather", "vega/stocks", "vega/us-employment", "statsmodels/co2", "statsmodels/macrodata",
    "statsmodels/sunspots", "statsmodels/demand for electricity", "R/AirPassengers", "R/UKDriverDeaths", "R/airquality",
    "R/discoveries", "R/nottem", "R/Cigar", "nycflights/weather, seven columns",
)  # fmt: skip
"""What is trained on: what has zeros, and what has hours or seasons."""
FEWEST = 30
"""Rows of an hour or a month that its mean is taken of."""
KEPT = HERE / "figures" / "public_tables.json"
PAGE = HERE.parent / "docs" / "notebook" / "public-tables.md"
HEADING = f"""
## Samples of public tables

`timegan`, {BUDGET} of one thread each, all else left to the data; {WINDOWS:,} windows. Shares of
zeros, and how far the samples' mean of an hour of the day, or of a month, is from the data's in the worst case, in
standard deviations of the data within it (below 1: within the data's own
spread). Where the data spans under two years no season is told (nycflights).
Script: `python benchmarks/public_tables.py train`, then `write`. Kept: `benchmarks/figures/public_tables/`.

"""
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
        text = json.dumps(asdict(verdict) | {"commit": commit()})
        kept[one.name] = json.loads(text.replace(f"{folder()}/", ""))
        wrong += verdict.outcome == "wrong"
        print(f"{verdict.outcome:8} {one.name}", *verdict.problems, sep="\n         - ", flush=True)
    order = [one.name for one in expectations()]
    kept = {name: kept[name] for name in order if name in kept}
    write_atomically(KEPT, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    sys.exit(f"{wrong} tables are read wrongly" if wrong else 0)


def learn(names: list[str]) -> None:
    """Train on tables, and keep what came of zeros, hours and seasons; what was kept before is not trained again."""
    fetch(folder())
    tables = {one.name: one for one in expectations()}
    for name in TRAINED:
        path = FIGURES / f"{_slug(name)}.json"
        if (names and not name.startswith(tuple(names))) or path.exists():
            continue
        one = tables[name]
        options = right_options(folder(), one)
        place = cache_dir() / "public_tables_runs" / _slug(name)
        plan = api.plan("timegan", str(one.path(folder())), budget=BUDGET, threads=1, out=place, **options)
        run, outcome = train(plan)
        made = one.frame_of(run.write(place / "samples.csv", WINDOWS))
        data = one.frame(folder())
        found = {"zeros": _zeros(made, data, one), "hours": _means(made, data, one, "hour")}
        keep(path, facts_of(run, outcome) | found | {"seasons": _means(made, data, one, "month")}, threads=1)
        print(name, json.dumps(found), flush=True)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _zeros(made: pd.DataFrame, data: pd.DataFrame, one: Expected) -> dict[str, tuple[float, float]]:
    """Return shares of zeros in data and samples, of the columns where the data has some and others."""
    shares = {
        name: (float((data[name] == 0).mean()), float((made[name] == 0).mean())) for name in _learned(made, data, one)
    }
    return {name: share for name, share in shares.items() if 0.01 < share[0] < 0.99}


def _learned(made: pd.DataFrame, data: pd.DataFrame, one: Expected) -> Iterator[str]:
    for name in data:
        if name in made and name not in (*one.time, one.series, *one.left) and data[name].dtype.kind in "iuf":
            yield name


def _means(made: pd.DataFrame, data: pd.DataFrame, one: Expected, part: str) -> dict[str, float]:
    """Return by column how far means of samples by hour or month are from those of the data, at most.

    In standard deviations of the data within that hour or month, so that below 1 they lie within its own spread.
    """
    parts = [_part(frame, one, part) for frame in (made, data)]
    if parts[0] is None or len(np.unique(parts[1])) < 2:
        return {}
    found = {}
    for name in _learned(made, data, one):
        pairs = zip((made, data), parts, strict=True)
        ours, theirs = (frame[name].groupby(which).agg(["mean", "std", "count"]) for frame, which in pairs)
        both = theirs.join(ours.add_prefix("made "), how="inner")
        both = both[(both["made count"] >= FEWEST) & (both["std"] > 0)]
        if len(both):
            found[name] = float(((both["made mean"] - both["mean"]).abs() / both["std"]).max())
    return found


def _part(frame: pd.DataFrame, one: Expected, part: str) -> np.ndarray | None:
    times = times_of(frame, one)[-1]
    if times.dtype.kind != "i":
        return None
    return np.asarray(getattr(pd.DatetimeIndex(times.astype("datetime64[ns]")), part))


def chosen(names: list[str]) -> list[Expected]:
    """Return the tables of these names, all without any; a name may be the beginning of several."""
    found = [one for one in expectations() if not names or one.name.startswith(tuple(names))]
    if not found:
        sys.exit(f"no table is called {', '.join(names)}")
    return found


def write() -> None:
    """Write the table of docs/notebook/public-tables.md between its marks."""
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
    write_section(PAGE, "public tables", lines)
    _write_learned()


def _write_learned() -> None:
    """Write what came of zeros, hours and seasons, as far as it was trained."""
    found = kept_rows((name, FIGURES / f"{_slug(name)}.json") for name in TRAINED)
    if not found:
        return
    words = ("table", "zeros: data, samples", "by hour, at most", "by month, at most", "doctor")
    lines = head_of(words)
    for name, kept in found:
        zeros = "; ".join(f"{column} {a:.0%}, {b:.0%}" for column, (a, b) in kept["zeros"].items())
        worst = [max(kept[part].values(), default=None) for part in ("hours", "seasons")]
        cells = ["" if value is None else f"{value:.2f}" for value in worst]
        lines.append(line_of((name + kept["mark"], zeros, *cells, kept["verdict"])))
    lines += ["", measured_on(kept for _, kept in found)]
    write_section(PAGE, "public samples", lines, HEADING)


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
        text = str(said[0]).splitlines()[0].replace("|", "\\|")
        text = text if len(text) < 200 else text[:197] + "..."
        return f"{text} ({one.why})" if verdict["outcome"] == "asked" and one.why else text
    return one.why


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["help"]
    if command == "check":
        check(rest)
    elif command == "train":
        learn(rest)
    elif command == "write":
        write()
    else:
        sys.exit(__doc__)
