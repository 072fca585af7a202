"""Which tests a mutant is tried with: those that execute its lines, the cheap and particular first."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.mutation.operators import Mutant

LISTED = "tests/cli/test_options.py"
"""The tests of the list of all options and presets."""


class Executed:
    """What ``following`` kept.

    Attributes:
        tests: seconds of each test that passed, with those of the fixtures that it shares.
        breadth: how many lines of the package each executes.
    """

    def __init__(self, folder: Path) -> None:
        self.tests: dict[str, float] = {}
        self.breadth: dict[str, int] = defaultdict(int)
        self._of: dict[str, dict[str, int]] = {}
        for path in sorted(path for path in folder.glob("*.json") if path.with_suffix(".sqlite").exists()):
            self._read(path)

    def _read(self, path: Path) -> None:
        kept = json.loads(path.read_text())
        failed, seconds = set(kept["failed"]), kept["seconds"]
        # Of those that were ended nobody knows how long they take.
        seconds |= {test: 4 * seconds[test] for test in kept["long"]}
        users: dict[str, list[str]] = defaultdict(list)
        for test, fixtures in kept["fixtures"].items():
            if test not in failed:
                self.tests[test] = seconds.get(test, 0.0) + sum(seconds.get(name, 0.0) for name in fixtures)
                for name in (test, *fixtures):
                    users[name].append(test)
        with sqlite3.connect(path.with_suffix(".sqlite")) as connection:
            rows = connection.execute(
                "select file.path, context.context, numbits from line_bits "
                "join file on file.id = file_id join context on context.id = context_id"
            )
            for file, context, bits in rows:
                self._add(file.rpartition("/src/")[2], users.get(context, ()), int.from_bytes(bits, "little"))

    def _add(self, file: str, tests: Sequence[str], lines: int) -> None:
        """Keep the lines of a file that some tests execute, as the bits of a number."""
        of, count = self._of.setdefault(file, {}), lines.bit_count()
        for test in tests:
            of[test] = of.get(test, 0) | lines
            self.breadth[test] += count

    def of(self, file: str, lines: Iterable[int]) -> set[str]:
        """Return the tests that execute any of some lines of a file, whose path begins with ``saddlepoint/``."""
        wanted = sum(1 << line for line in set(lines))
        return {test for test, executed in self._of.get(file, {}).items() if executed & wanted}

    def ordered(self, tests: set[str]) -> list[str]:
        """Return tests in the order in which they are tried: the cheap and particular first.

        Cases of one function follow one another by turns with those of others, so that hundreds of cases of one rule
        do not keep the others waiting.
        """
        cost = {test: (self.tests[test] + 0.05) * (self.breadth[test] + 200) ** 0.5 for test in tests}
        turns: dict[str, int] = defaultdict(int)
        keys: dict[str, tuple[int, float]] = {}
        for test in sorted(tests, key=lambda one: (cost[one], one)):
            function = test.partition("[")[0]
            keys[test] = (turns[function] // 2, cost[test])
            turns[function] += 1
        return sorted(tests, key=lambda one: (*keys[one], one))


def chosen(
    mutant: Mutant, executed: Executed, source: Path, limit: float, most: int = 400
) -> tuple[dict[str, float], int]:
    """Return the tests that a mutant is tried with, in order, with the seconds of each; how many are left out.

    Those that execute the changed node; of a default those that execute the function, too; of a constant of a module
    or a class those that execute a line with its name, in the same file first. They are as many as the limit of seconds
    allows, from at most six files: the first twenty cheap ones as they come, the others file by file, so that what
    the tests of a file share is made once.
    """
    tests: list[str] = []
    for group in _groups(mutant, executed, source):
        tests += executed.ordered(group - set(tests))
    kept: dict[str, float] = {}
    files: set[str] = set()
    total = 0.0
    for test in tests:
        file, seconds = test.partition("::")[0], executed.tests[test]
        if (file in files or len(files) < 6) and (total + seconds <= limit or not kept) and len(kept) < most:
            files.add(file)
            kept[test] = seconds
            total += seconds
    first = list(kept)[:20]
    order = {name: n for n, name in enumerate(dict.fromkeys(test.partition("::")[0] for test in kept))}
    rest = sorted(list(kept)[20:], key=lambda test: order[test.partition("::")[0]])
    return {test: kept[test] for test in (*first, *rest)}, len(tests) - len(kept)


def _groups(mutant: Mutant, executed: Executed, source: Path) -> Iterator[set[str]]:
    """Return sets of tests, the most to the point first."""
    on_it = executed.of(mutant.file, range(mutant.line, mutant.last + 1))
    yield on_it or executed.of(mutant.file, [mutant.first])
    if mutant.runs:
        return
    if "/families/" in mutant.file:  # its lines are executed when it is imported, what it tells are its presets
        yield {test for test in executed.tests if test.startswith(LISTED)}
    if mutant.body[0]:
        yield executed.of(mutant.file, range(mutant.body[0], mutant.body[1] + 1))
    files = [mutant.file, *(str(path.relative_to(source)) for path in sorted((source / "saddlepoint").rglob("*.py")))]
    for name in mutant.names:
        word = re.compile(rf"\b{name}\b")
        for file in dict.fromkeys(files):
            lines = [n for n, line in enumerate((source / file).read_text().splitlines(), 1) if word.search(line)]
            found = executed.of(file, lines)
            if found:
                yield found
    family = mutant.file.split("/")[2].removesuffix(".py") if "/families/" in mutant.file else ""
    if family:
        yield {test for test in executed.tests if re.search(rf"[\[_-]{family}[\]_.-]", test)}
    count = len((source / mutant.file).read_text().splitlines())
    yield executed.of(mutant.file, range(1, count + 1))
