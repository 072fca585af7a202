"""Tries mistakes, each in a fork of a process that has imported what is slow to import, but nothing of the package.

A hook of the import hands out the mutated module instead of the one on disk: no file is changed. The fork runs with
pytest the tests that it is told, until one fails, and says over a pipe what it does; who does not say anything for too
long is killed, which counts as caught: tests that hang are noticed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.operators import mutated
from tests.mutation.warm import with_kernels

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PRELOADED = (
    "torch", "torch.export", "numpy", "pandas", "pyarrow.parquet", "pyarrow.csv", "scipy.linalg", "scipy.special",
    "scipy.stats", "sklearn.datasets", "sklearn.linear_model", "sklearn.neighbors", "hypothesis.extra.numpy",
    "matplotlib.pyplot", "matplotlib.figure", "PIL.Image", "safetensors.torch", "jaxtyping", "jinja2", "typer.testing",
    "rich.console", "fastapi.testclient", "uvicorn", "httpx", "onnx", "onnxscript", "onnxruntime", "h5py", "xarray",
    "openpyxl", "av", "nicegui", "optuna", "datasets", "huggingface_hub", "opacus", "pydicom", "nibabel",
    "astropy.io.fits", "torch.utils.tensorboard",
)  # fmt: skip
QUIET = 30.0
"""Seconds that a test may say nothing, or eight times as long as it takes, if that is more."""
MEMORY = 8 * 2**30
"""Bytes that a trial may ask for."""


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        caught: whether a test failed, or hung.
        by: the test; "import": the module could not be imported any more; "" where nothing did.
        words: the last line of its failure.
        seconds: of the trial.
        tests: how many were run.
    """

    caught: bool
    by: str
    words: str
    seconds: float
    tests: int


def preload() -> None:
    """Import what tests import, but nothing of the package; what is not installed is left out."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is collected in a fork would be copied


class Planted(importlib.machinery.SourceFileLoader):
    """Loads a module with a mistake in it."""

    number = 0

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the code of the mutated module; nothing is read from or written to ``__pycache__``."""
        path = self.get_filename(fullname)
        return compile(mutated(Path(path).read_text(), self.number), path, "exec")


class Finder:
    """Finds the mutated module before anybody else finds the one on disk."""

    def __init__(self, file: str, number: int) -> None:
        self.number = number
        self.name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Return the module's specification with the loader of the mistake."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == self.name else None
        if spec is not None and spec.origin is not None:
            loader = Planted(name, spec.origin)
            loader.number = self.number
            spec.loader = loader
        return spec


class Told:
    """Plugin of pytest: runs the chosen tests in their order, and tells over a pipe what happens."""

    def __init__(self, tests: Sequence[str], pipe: int, kernels: bool) -> None:
        self.kernels = kernels
        self.order = {test: n for n, test in enumerate(tests)}
        self.pipe = pipe

    def tell(self, **words: str) -> None:
        """Write a line."""
        os.write(self.pipe, (json.dumps(words) + "\n").encode())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the chosen tests, in their order; kernels are compiled where their making has a mistake."""
        if self.kernels:
            with_kernels(config)
        places = {one: self.order.get(one.nodeid, self.order.get(one.nodeid.partition("[")[0])) for one in items}
        chosen = {one: place for one, place in places.items() if place is not None}
        items[:] = sorted(chosen, key=lambda one: chosen[one])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell that a file of tests cannot be imported any more."""
        if report.failed:
            self.tell(failed="import", words=f"{report.nodeid}: {_last_line(report)}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell which test begins."""
        self.tell(start=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell which test failed."""
        if report.failed:
            self.tell(failed=report.nodeid, words=_last_line(report))


def _last_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return next((line for line in text.strip().splitlines() if line.strip()), "")[:160]


def tried(file: str, number: int | None, tests: dict[str, float], limit: float) -> Outcome:
    """Plant a mistake and run tests until one fails.

    Args:
        file: path of the module below ``src``.
        number: of the mistake; None: none, as a control.
        tests: in their order, with the seconds that each takes; the name of a function stands for all its cases.
        limit: seconds after which no further test is begun.
    """
    folder = Path(tempfile.mkdtemp(prefix="saddlepoint-mutation-"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a mistake may lead a signal to the wrong process
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(file, number, list(tests), folder, writing)
    os.close(writing)
    try:
        return _followed(reading, child, tests, limit)
    finally:
        os.close(reading)
        _end(child)
        shutil.rmtree(folder, ignore_errors=True)


def _run(file: str, number: int | None, tests: list[str], folder: Path, pipe: int) -> None:
    """Be the fork; never returns."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    os.environ["TMPDIR"] = str(folder)
    os.chdir(ROOT)
    sys.path[:0] = [str(SOURCE), str(ROOT)]
    if number is not None:
        sys.meta_path.insert(0, Finder(file, number))
    told = Told(tests, pipe, kernels="nn/native" not in file)
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short", "--hypothesis-seed=0", "-m", "not gpu"]
    # Plugins of others take longer to load than most tests. That of hypothesis is imported: its assertions are plain.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options += ["-p", "_hypothesis_pytestplugin", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        code = int(pytest.main([*files, *options, f"--basetemp={folder / 'tests'}"], plugins=[told]))
        told.tell(end=str(code))
    except BaseException as error:
        told.tell(failed="import", words=f"{type(error).__name__}: {error}"[:160])
    os._exit(0)


def _followed(pipe: int, child: int, tests: dict[str, float], limit: float) -> Outcome:
    """Return what a fork told until it ended, a test failed or hung, or time was up."""
    start = last = time.monotonic()
    rest, running, done = b"", "", 0
    while True:
        now = time.monotonic()
        patience = max(QUIET, 8 * tests.get(running, 0.0))
        ready, _, _ = select.select([pipe], [], [], max(0.05, last + patience - now))
        if not ready:
            return Outcome(True, running or "import", "hangs", time.monotonic() - start, done)
        data = os.read(pipe, 65536)
        last = time.monotonic()
        *lines, rest = (rest + data).split(b"\n")
        for line in map(json.loads, lines):
            if "failed" in line:
                return Outcome(True, line["failed"], line["words"], last - start, done)
            if "end" in line:
                # Exit codes of pytest: 0 all passed, 1 some failed, 5 none collected; the others mean that it broke.
                broke = line["end"] not in "05"
                return Outcome(broke, "import" if broke else "", "", last - start, done)
            running, done = line["start"], done + 1
        if not data:
            return Outcome(True, running or "import", "the process died", last - start, done)
        if last - start > limit:
            return Outcome(False, "", "", last - start, done)


def _end(child: int) -> None:
    """End a fork and whatever it started."""
    for end in (os.killpg, os.kill):
        try:
            end(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(child, 0)
