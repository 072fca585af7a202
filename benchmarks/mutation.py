"""Plants small mistakes in the package and sees whether the default tests notice (tests/mutation).

    python benchmarks/mutation.py follow            which tests execute which line: half an hour, kept in runs/mutation
    python benchmarks/mutation.py sample            draw the mistakes; once, they are kept
    python benchmarks/mutation.py run [KEY ...]     try those that were not tried; named ones again; can be stopped
    python benchmarks/mutation.py again             try those again that no test noticed and nobody answered
    python benchmarks/mutation.py try KEY TEST ...  try one with some tests; `was` before KEY: with tests of before
    python benchmarks/mutation.py types             try those with mypy, which `make test` begins with
    python benchmarks/mutation.py control           the tests that caught something, with nothing planted: all pass
    python benchmarks/mutation.py show              mistakes that nothing noticed and nobody answered
    python benchmarks/mutation_tables.py write      write the tables of docs/notebook/reliability-mutation.md

Figures are kept in benchmarks/figures/mutation: a file for each package, what came of each mistake at first and after
tests were added; `answers.json` says why what survived has no consequence. Needs coverage.py.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCE = ROOT / "src"
FIGURES = HERE / "figures" / "mutation"
KEPT = ROOT / "runs" / "mutation"
PACKAGES = ("engine", "metrics", "data", "families", "serve", "export", "objectives", "nn", "run", "evaluation")
COUNT, LEAST, SEED = 520, 8, 36
LIMIT = float(os.environ.get("MUTATION_SECONDS", "12"))
"""Seconds of tests a mistake."""

sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.mutation.executed import Executed, chosen  # noqa: E402 - after the root of the repository is known
from tests.mutation.operators import Mutant, mutants  # noqa: E402

LEFT_OUT = ("test_bench", "test_docs", "test_where", "test_ladder", "test_summary", "test_texts")
"""Files of tests that are slow or read documents. Those of tests/e2e are left out, too: they start commands, which no
coverage follows, nor does a mistake that is planted in one process reach another."""


def groups() -> Iterator[tuple[str, list[str]]]:
    """Return the default tests' files in groups of eight, each with its name."""
    rooms = [ROOT / "tests" / room for room in ("unit", "cli", "contract")]
    files = [path for room in rooms for path in sorted(room.glob("test_*.py")) if path.stem not in LEFT_OUT]
    for start in range(0, len(files), 8):
        part = [str(path.relative_to(ROOT)) for path in files[start : start + 8]]
        yield f"{start // 8:02d}-{Path(part[0]).stem}", part


def follow() -> None:
    """Follow the groups that were not followed."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, files in groups():
        if not (KEPT / f"{name}.json").exists():
            print(name, flush=True)
            subprocess.run([sys.executable, "-m", "tests.mutation.following", str(KEPT), name, *files], cwd=ROOT)


def possible(package: str) -> list[Mutant]:
    """Return all mistakes that are possible in a package."""
    found: list[Mutant] = []
    for path in sorted((SOURCE / "saddlepoint" / package).rglob("*.py")):
        found += mutants(path.read_text(), str(path.relative_to(SOURCE)))
    return found


def sample() -> None:
    """Draw mistakes from each package by its lines, at most one a line, and keep them."""
    from saddlepoint.core.files import write_atomically

    lines = {name: sum(1 for p in (SOURCE / "saddlepoint" / name).rglob("*.py") for _ in p.open()) for name in PACKAGES}
    for package in PACKAGES:
        path = FIGURES / f"{package}.json"
        if path.exists():
            continue
        wanted = max(LEAST, round(COUNT * lines[package] / sum(lines.values())))
        known = possible(package)
        random.Random(f"{SEED} {package}").shuffle(known)
        taken: dict[tuple[str, int], Mutant] = {}
        for one in known:
            taken.setdefault((one.file, one.line), one)
        drawn = list(taken.values())[:wanted]
        FIGURES.mkdir(parents=True, exist_ok=True)
        kept = {"lines": lines[package], "possible": len(known), "mutants": {one.key: about(one) for one in drawn}}
        write_atomically(path, json.dumps(kept, indent=1) + "\n")
        print(f"{package}: {len(drawn)} of {len(known):,}")


def about(one: Mutant) -> dict[str, Any]:
    """Return what is kept of a mistake."""
    names = ("file", "line", "place", "operator", "before", "after")
    return {name: getattr(one, name) for name in names}


def kept() -> dict[str, dict[str, Any]]:
    """Return what is kept, by package."""
    return {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PACKAGES}


def answers() -> dict[str, dict[str, str]]:
    """Return why mistakes that survive have no consequence, by key."""
    path = FIGURES / "answers.json"
    return json.loads(path.read_text()) if path.exists() else {}


def last(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what came of a mistake when it was tried last."""
    return entry.get("now") or entry.get("first") or {}


def order(entries: dict[str, dict[str, Any]], keys: list[str], wanted: str) -> list[tuple[str, str]]:
    """Return (package, key) of what is tried, packages by turns at random, so that a part says something of all.

    Args:
        entries: what is kept, by package.
        keys: named ones; none: all that are wanted.
        wanted: ``new`` or ``survivors``.
    """
    known = [(package, key) for package, part in entries.items() for key in part["mutants"]]
    random.Random(SEED).shuffle(known)
    if keys:
        return [(package, key) for package, key in known if any(key.startswith(one) for one in keys)]
    answered = answers()
    found = []
    for package, key in known:
        outcome = last(entries[package]["mutants"][key])
        survived = outcome and not outcome["caught"] and key not in answered
        if survived if wanted == "survivors" else not outcome:
            found.append((package, key))
    return found


def run(keys: list[str], wanted: str = "new") -> None:
    """Try mistakes, and keep what comes of each."""
    from tests.mutation import trial

    assert not any(name.startswith("saddlepoint") for name in sys.modules), "forks import the package anew"
    executed = Executed(KEPT)
    trial.preload()
    entries = kept()
    todo = order(entries, keys, wanted)
    found = {one.key: one for package in PACKAGES for one in possible(package)}
    for n, (package, key) in enumerate(todo, 1):
        entry = entries[package]["mutants"][key]
        mutant = found.get(key)
        if mutant is None:
            print(f"{key}: not in the source any more")
            continue
        outcome = attempt(trial, mutant, executed)
        entry["now" if "first" in entry and (keys or wanted == "survivors") else "first"] = outcome
        keep_package(package, entries[package])
        shown = outcome["by"] if outcome["caught"] else "SURVIVED"
        print(f"{n}/{len(todo)} {key} {mutant.file}:{mutant.line} {shown} {outcome['seconds']} s", flush=True)


def attempt(trial: Any, mutant: Mutant, executed: Executed) -> dict[str, Any]:
    """Try a mistake; return what came of it."""
    tests, left = chosen(mutant, executed, SOURCE, LIMIT)
    outcome = trial.Outcome(False, "", "no test executes it", 0.0, 0)
    for part in in_two(tests):
        found = trial.tried(mutant.file, mutant.number, part, 3 * LIMIT)
        found.seconds, found.tests = found.seconds + outcome.seconds, found.tests + outcome.tests
        outcome = found
        if outcome.caught:
            break
    return asdict(outcome) | {"seconds": round(outcome.seconds, 1), "left": left, "commit": commit()}


def in_two(tests: dict[str, float]) -> list[dict[str, float]]:
    """Return twenty tests of the first three files, which catch most, and all others: importing files takes time."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))[:3]
    first = [test for test in tests if test.partition("::")[0] in files][:20]
    parts = [{test: tests[test] for test in first}, {test: s for test, s in tests.items() if test not in first}]
    return [part for part in parts if part]


def try_with(*words: str) -> None:
    """Try a mistake with some tests, and keep what comes of it: under ``first`` if they were there at first."""
    from tests.mutation import trial

    was = words[0] == "was"
    key, *tests = words[1:] if was else words

    trial.preload()
    for package, part in kept().items():
        for mutant in possible(package) if any(one.startswith(key) for one in part["mutants"]) else ():
            if mutant.key.startswith(key) and mutant.key in part["mutants"]:
                outcome = trial.tried(mutant.file, mutant.number, dict.fromkeys(tests, 10.0), 300.0)
                found = asdict(outcome) | {"seconds": round(outcome.seconds, 1), "left": 0, "commit": commit()}
                print(key, found, flush=True)
                if found["caught"] or not was:
                    part["mutants"][mutant.key]["first" if was else "now"] = found
                keep_package(package, part)


def types() -> None:
    """Ask the type checker about mistakes that no test noticed; keep which it sees."""
    from tests.mutation.operators import mutated

    answered = answers()
    for package, part in kept().items():
        for mutant in possible(package):
            outcome = last(part["mutants"].get(mutant.key, {}))
            if not outcome or outcome["caught"] or mutant.key in answered:
                continue
            began, source = time.monotonic(), (SOURCE / mutant.file).read_text()
            seen = Counter(checked(mutant.file, ast.unparse(mutated(source, mutant.number)))) - unmutated(mutant.file)
            print(f"{mutant.key} {mutant.file}:{mutant.line} {next(iter(seen), 'SURVIVED')}", flush=True)
            if seen:
                found = {"caught": True, "by": "mypy", "words": next(iter(seen)), "tests": 0}
                seconds = round(time.monotonic() - began, 1)
                part["mutants"][mutant.key]["now"] = found | {"seconds": seconds, "left": 0, "commit": commit()}
                keep_package(package, part)


@functools.cache
def unmutated(file: str) -> Counter[str]:
    """Return what the type checker says of a file as it is, unparsed: comments that silence it are gone here, too."""
    return Counter(checked(file, ast.unparse(ast.parse((SOURCE / file).read_text()))))


def checked(file: str, source: str) -> list[str]:
    """Return what the type checker says of a file with another text, without the numbers of lines."""
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / Path(file).name
        beside.write_text(source)
        shadow = ["--shadow-file", str(SOURCE / file), str(beside)]
        words = ["--no-error-summary", "--cache-dir", str(KEPT / "mypy"), *shadow]
        done = subprocess.run([sys.executable, "-m", "mypy", *words], cwd=ROOT, capture_output=True, text=True)
    return [re.sub(r":\d+", "", line) for line in done.stdout.splitlines() if ": error:" in line]


def keep_package(package: str, part: dict[str, Any]) -> None:
    """Write what is kept of a package; whole, or not at all."""
    path = FIGURES / f"{package}.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(part, indent=1) + "\n")
    beside.replace(path)


def commit() -> str:
    """Return the commit that is checked out."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def control() -> None:
    """Run the tests that caught mistakes with nothing planted."""
    from tests.mutation import trial

    trial.preload()
    executed = Executed(KEPT)
    outcomes = [last(entry) for part in kept().values() for entry in part["mutants"].values()]
    tests = sorted({one["by"] for one in outcomes if one.get("caught")} & set(executed.tests))
    wrong = []
    for start in range(0, len(tests), 40):
        left = {test: executed.tests[test] for test in tests[start : start + 40]}
        while left:
            outcome = trial.tried("", None, left, 3600)
            if not outcome.caught:
                break
            wrong.append(outcome.by)
            print(f"fails with nothing planted: {outcome.by}: {outcome.words}", flush=True)
            left.pop(outcome.by)
    about_it = {"tests": len(tests), "failed": wrong, "commit": commit()}
    (FIGURES / "control.json").write_text(json.dumps(about_it, indent=1) + "\n")
    print(f"{len(tests)} tests, {len(wrong)} fail with nothing planted")


def show() -> None:
    """Print the mistakes that nothing noticed and nobody answered."""
    answered = answers()
    for part in kept().values():
        for key, entry in part["mutants"].items():
            outcome = last(entry)
            if outcome and not outcome["caught"] and key not in answered:
                print(
                    f"{key} {entry['file']}:{entry['line']} {entry['place']}: {entry['operator']} ({outcome['tests']})"
                )
                print(f"    {entry['before']}\n    {entry['after']}")


def main() -> None:
    """Do what is asked."""
    command, *rest = sys.argv[1:] or ["help"]
    known = {"follow": follow, "sample": sample, "types": types, "control": control, "show": show}
    if command in known:
        known[command]()
    elif command == "try" and len(rest) > 1:
        try_with(*rest)
    elif command in ("run", "again"):
        run(rest, "survivors" if command == "again" else "new")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
