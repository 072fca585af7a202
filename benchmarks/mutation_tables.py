"""Writes the tables of docs/notebook/reliability-mutation.md from what benchmarks/mutation.py kept.

python benchmarks/mutation_tables.py write
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from records import head_of, line_of, run_or_write, write_section

import mutation
from saddlepoint.metrics.bootstrap import wilson_interval

PAGE = mutation.ROOT / "docs" / "notebook" / "reliability-mutation.md"


def counted(entries: Iterable[dict[str, Any]], answered: Collection[str]) -> list[int]:
    """Return how many mistakes were tried, caught at first, are caught now, have no consequence, are left."""
    found = list(entries)
    first = sum(bool(one["first"]["caught"]) for one in found)
    now = sum(bool(mutation.last(one)["caught"]) for one in found)
    nothing = sum(not mutation.last(one)["caught"] and one["key"] in answered for one in found)
    return [len(found), first, now, nothing, len(found) - now - nothing]


def tried() -> list[dict[str, Any]]:
    """Return all mistakes that were tried, with their keys and packages."""
    return [
        one | {"key": key, "package": package}
        for package, part in mutation.kept().items()
        for key, one in part["mutants"].items()
        if "first" in one
    ]


def whole() -> list[int]:
    """Return the counts of all mistakes together; see `counted`."""
    return counted(tried(), mutation.answers())


def share(caught: int, of: int) -> str:
    """Return a share with Wilson's 95% interval."""
    low, high = wilson_interval(caught / of, of)
    return f"{caught / of:.1%} ({low:.1%} to {high:.1%})"


def tables() -> dict[str, list[str]]:
    """Return the sections of the page."""
    found, answered = tried(), mutation.answers()
    heads = ("mistakes", "caught at first", "caught now", "without consequence", "not caught", "share caught now")
    made: dict[str, list[str]] = {}
    for name in ("package", "operator"):
        lines = head_of(("kind of mistake" if name == "operator" else name, *heads))
        for value in sorted({one[name] for one in found}):
            row = counted((one for one in found if one[name] == value), answered)
            lines.append(line_of((value, *map(str, row), f"{row[2] / max(1, row[0] - row[3]):.0%}")))
        whole = counted(found, answered)
        lines.append(line_of(("**all**", *(f"**{n}**" for n in whole), f"**{share(whole[2], whole[0] - whole[3])}**")))
        made[f"{name}s"] = lines
    seconds = sum(one["first"]["seconds"] for one in found)
    commits = sorted({one["first"]["commit"] for one in found})
    whole = counted(found, answered)
    made["packages"] += [
        "",
        f"At first: {share(whole[1], whole[0] - whole[3])} of those with a consequence. {seconds / 60:.0f} min "
        f"of tests on one thread, {seconds / len(found):.1f} s a mistake. Commit: {', '.join(commits)}.",
    ]
    made["answers"] = [*head_of(("why nothing notices", "mistakes", "such as")), *_reasons(found, answered)]
    return made


def _reasons(found: list[dict[str, Any]], answered: dict[str, dict[str, str]]) -> list[str]:
    """Return a line for each kind of answer, with one of its mistakes."""
    lines = []
    left = {one["key"]: one for one in found if not mutation.last(one)["caught"] and one["key"] in answered}
    for kind in sorted({answered[key]["kind"] for key in left}):
        keys = [key for key in left if answered[key]["kind"] == kind]
        first = left[keys[0]]
        words = (f"`{first[name]}`".replace("|", "\\|").replace("\n", " ") for name in ("before", "after"))
        example = f"{first['file'].removeprefix('saddlepoint/')}, {' for '.join(reversed(list(words)))}"
        lines.append(line_of((kind, str(len(keys)), f"{example}: {answered[keys[0]]['why']}")))
    return lines


def write() -> None:
    """Write the sections of the page between their marks."""
    for name, lines in tables().items():
        write_section(PAGE, name, lines)


if __name__ == "__main__":
    run_or_write({}, lambda row, named: None, write, __doc__)
