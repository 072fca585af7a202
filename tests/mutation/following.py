"""Follows the default tests with coverage.py: which lines each executes, and how long each takes.

python -m tests.mutation.following FOLDER NAME FILE ...: what the tests of some files execute, as NAME.sqlite and .json

What a fixture of a module or a session executes belongs to every test that asks for it, so it has a context of its own,
and its seconds are counted for each of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.warm import with_kernels

SOURCE = Path(__file__).parents[2] / "src" / "saddlepoint"


MOST_SECONDS = 3.0
"""Seconds of computing after which a test is ended: of the lines after that nothing is known."""


class Followed:
    """Plugin of pytest: switches the context of coverage, and keeps seconds and fixtures of each test."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.context = ""
        self.seconds: dict[str, float] = defaultdict(float)
        self.fixtures: dict[str, list[str]] = {}
        self.failed: list[str] = []
        self.long: list[str] = []

    def pytest_collection_modifyitems(self, config: Any) -> None:
        """Spare the tests compiling kernels that are compiled already."""
        with_kernels(config)

    def _switch(self, context: str) -> str:
        before, self.context = self.context, context
        self.measured.switch_context(context)
        return before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Follow one test."""
        start, shared = time.process_time(), sum(self.seconds.values())
        before = self._switch(item.nodeid)
        found = yield
        self._switch(before)
        self.seconds[item.nodeid] += time.process_time() - start - (sum(self.seconds.values()) - shared)
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Follow a fixture that several tests share."""
        if fixturedef.scope == "function":
            return (yield)
        name = name_of(fixturedef)
        start, shared = time.process_time(), sum(self.seconds.values())
        before = self._switch(name)
        try:
            return (yield)
        finally:
            self._switch(before)
            self.seconds[name] += time.process_time() - start - (sum(self.seconds.values()) - shared)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """End a test that computes for longer than a mistake would be tried with."""

        def ended(*_: object) -> None:
            self.long.append(item.nodeid)
            pytest.skip("it takes too long to be tried with mistakes")

        before = signal.signal(signal.SIGPROF, ended)
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
            with contextlib.suppress(RuntimeError):  # who was ended within `logging` would hold its lock for good
                while True:
                    logging._lock.release()

    def pytest_runtest_setup(self, item: Any) -> None:
        """Keep which shared fixtures a test asks for."""
        known = item._fixtureinfo.name2fixturedefs
        asked = [known[name][-1] for name in item.fixturenames if name in known]
        self.fixtures[item.nodeid] = [name_of(one) for one in asked if one.scope != "function"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep which tests fail: they catch nothing."""
        if report.failed:
            self.failed.append(report.nodeid)


def name_of(fixture: Any) -> str:
    """Return the name under which a shared fixture is kept."""
    return f"fixture {fixture.baseid}::{fixture.argname}"


def follow(folder: Path, name: str, files: Sequence[str]) -> None:
    """Run the default tests of some files, and keep what they execute."""
    data = folder / f"{name}.sqlite"
    data.unlink(missing_ok=True)
    measured = coverage.Coverage(data_file=str(data), source=[str(SOURCE)], config_file=False)
    followed = Followed(measured)
    measured.start()
    pytest.main([*files, "-q", "-p", "no:cacheprovider"], plugins=[followed])
    measured.stop()
    measured.save()
    kept = {
        "seconds": followed.seconds,
        "fixtures": followed.fixtures,
        "failed": followed.failed,
        "long": followed.long,
    }
    (folder / f"{name}.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    follow(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
