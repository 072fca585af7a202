"""This installation against another one: the same steps, in turns, so that a busy machine slows both alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.lab.bench import Rate

WORKER = Path(__file__).with_name("step_worker.py")


@dataclass(frozen=True)
class Preset:
    """What is trained: a preset as it comes, on made-up rows.

    Attributes:
        family, preset: as on the command line.
        shape: of a row: (channel, height, width), or (time, feature).
        classes: of the rows; 0: no labels.
    """

    family: str
    preset: str
    shape: tuple[int, ...]
    classes: int = 0

    @property
    def name(self) -> str:
        """Return the word for it."""
        return f"{self.family}-{self.preset}-{'x'.join(map(str, self.shape))}"


PRESETS = {
    one.name: one
    for one in (
        Preset("gan", "mnist", (1, 28, 28)),
        Preset("gan", "mnist-2014", (1, 28, 28)),
        Preset("gan", "cifar10-fc-2014", (3, 32, 32)),
        Preset("gan", "cifar10-conv-2014", (3, 32, 32)),
        Preset("gan", "tfd-2014", (1, 48, 48)),
        Preset("cgan", "mnist", (1, 28, 28), 10),
        Preset("dcgan", "small", (1, 28, 28)),
        Preset("dcgan", "small", (3, 32, 32)),
        Preset("dcgan", "paper", (3, 64, 64)),
        Preset("stylegan", "tiny-32", (3, 32, 32)),
        Preset("stylegan", "tiny-64", (3, 64, 64)),
        Preset("stylegan1", "tiny-32", (3, 32, 32)),
        Preset("stargan", "tiny-32", (3, 32, 32), 2),
        Preset("stargan2", "tiny-32", (3, 32, 32), 2),
        Preset("timegan", "increments", (24, 6)),
    )
}
"""The presets that people get, by name."""


@dataclass(frozen=True)
class Pair:
    """One preset by both installations.

    Attributes:
        name: of the preset.
        precision: of this installation's matrix products, and of the other's.
        here, there: samples a second.
        ratio: of the two, turn by turn; above 1 where this installation is faster.
        memory: peak MiB of a process of this installation, and of one of the other.
    """

    name: str
    precision: tuple[str, str]
    here: Rate
    there: Rate
    ratio: Rate
    memory: tuple[float, float]


def against(
    path: Path,
    names: Sequence[str] = (),
    *,
    rounds: int = 9,
    seconds: float = 2.0,
    threads: int = 1,
    precision: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> list[Pair]:
    """Measure presets with this installation and with another one, in turns.

    Args:
        path: a folder with the package (a checkout, its ``src``, a folder of installed packages), or another Python.
        names: of presets or families; none: all.
        rounds: turns; medians and ranges are over them.
        seconds: time of each installation in each turn.
        threads: of either process.
        precision: fp32, bf16, or auto: what each installation chooses.
        say: hears of each preset that one of them cannot train.

    Raises:
        ConfigError: if there is no such package or preset.
    """
    other, found = interpreter(path), []
    for preset in presets_of(names):
        shape = "x".join(map(str, preset.shape))
        words = [preset.family, preset.preset, shape, str(preset.classes), precision, str(threads)]
        try:
            # The other one first: it may be unable to train this.
            with _started(other, words) as there, _started(interpreter(Path(__file__).parents[2]), words) as here:
                found.append(_in_turns(preset.name, (here, there), rounds, seconds))
        except ChildProcessError as error:
            say(f"{preset.name}: left out: {error}")
    return found


def interpreter(path: Path) -> tuple[str, dict[str, str]]:
    """Return the Python and the environment that import the package at a path.

    Raises:
        ConfigError: if there is none.
    """
    if path.is_file() and os.access(path, os.X_OK):
        return str(path), {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for folder in (path, path / "src"):
        if (folder / "saddlepoint" / "__init__.py").is_file():
            return sys.executable, {**os.environ, "PYTHONPATH": str(folder.resolve())}
    raise ConfigError(f"'{path}' holds no package saddlepoint; give a checkout, its src, or the Python of another one")


def presets_of(names: Sequence[str]) -> list[Preset]:
    """Return the presets that names of presets or families mean; all of them without names.

    Raises:
        ConfigError: if a name means none, with the nearest one.
    """
    chosen = []
    for name in names or PRESETS:
        fitting = [one for one in PRESETS.values() if name in (one.name, one.family, f"{one.family}-{one.preset}")]
        if not fitting:
            raise ConfigError(f"no preset is called '{name}'; {suggest(name, PRESETS)}")
        chosen += fitting
    return chosen


@contextmanager
def _started(python: tuple[str, dict[str, str]], words: Sequence[str]) -> Iterator[_Worker]:
    """Start a worker that is ready for its first turn, and end it."""
    process = subprocess.Popen(
        [python[0], "-P", str(WORKER), *words], env=python[1], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield _Worker(process)
    finally:
        process.kill()
        with suppress(OSError):
            process.communicate()


class _Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.memory = process, 0.0
        self.precision = str(self._answer()["precision"])

    def turn(self, seconds: float) -> float:
        """Return the samples a second of a turn."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.memory = float(answer["mib"])
        return float(answer["samples_per_second"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.process.stderr.read().strip().splitlines()
            raise ChildProcessError(said[-1] if said else "the process ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _in_turns(name: str, workers: tuple[_Worker, _Worker], rounds: int, seconds: float) -> Pair:
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):  # who comes second finds a warmer machine
            rates[which].append(workers[which].turn(seconds))
    ratios = [here / there for here, there in zip(*rates, strict=True)]
    return Pair(
        name, (workers[0].precision, workers[1].precision), Rate.of(rates[0]), Rate.of(rates[1]), Rate.of(ratios),
        (workers[0].memory, workers[1].memory),
    )  # fmt: skip
