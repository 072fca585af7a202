"""Experiments as they run: what can be set, one small advance after another, and what there is to see after each.

A page (or a test) needs nothing else of an experiment: it draws `View`s and offers `Control`s.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.engine.machine.runtime import stream

Value = float | str | bool
Style = Literal["line", "dotted", "thick", "points", "crosses"]

GREEN, PURPLE, PLUM, GREY, ORANGE, BLUE, RED = (
    "#2e9e5b", "#7b3fb5", "#c9a0dc", "#888888", "#d8743b", "#3b7dd8", "#c0392b",
)  # fmt: skip


@dataclass(frozen=True)
class Control:
    """Something to set.

    Attributes:
        name: of the value.
        label: shown beside it.
        usual: value at first.
        choices: what it can be; empty for a number or a switch.
        low, high, step: of a number.
        restarts: whether a change begins the experiment anew.
    """

    name: str
    label: str
    usual: Value
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    step: float = 0.1
    restarts: bool = True

    def read(self, value: Value) -> Value:
        """Return the value if it is possible.

        Raises:
            ConfigError: otherwise.
        """
        if self.choices:
            if value not in self.choices:
                raise ConfigError(f"{self.name} is '{value}'; {suggest(str(value), self.choices)}")
            return value
        if isinstance(self.usual, bool):
            return bool(value)
        if isinstance(value, str) or not self.low <= float(value) <= self.high:
            raise ConfigError(f"{self.name} is {value}, but it must be between {self.low:g} and {self.high:g}")
        return float(value)


@dataclass(frozen=True)
class Curve:
    """Points (x, y) with a name, a colour and a style."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: str = BLUE
    style: Style = "line"


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        title: above it.
        curves: in the order of drawing.
        x, y: ranges; None: of the data.
        x_label: below it.
        log: whether y has a logarithmic scale.
        square: whether both axes have the same scale.
    """

    title: str
    curves: tuple[Curve, ...]
    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    x_label: str = ""
    log: bool = False
    square: bool = False


@dataclass(frozen=True)
class View:
    """What there is to see: diagrams, and sentences with the figures of theory beside the measured ones."""

    panels: tuple[Panel, ...]
    sentences: tuple[str, ...] = ()


@dataclass
class Live(abc.ABC):
    """An experiment that runs.

    Attributes:
        values: of the controls.
        seed: of everything random.
    """

    values: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        known = {control.name: control for control in self.controls()}
        for name in self.values:
            if name not in known:
                raise ConfigError(f"there is no control '{name}'; {suggest(name, known)}")
        self.values = {name: control.read(self.values.get(name, control.usual)) for name, control in known.items()}
        self.random = stream("cpu", "live", self.seed)
        self.restart()

    @classmethod
    @abc.abstractmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""

    @abc.abstractmethod
    def restart(self) -> None:
        """Begin anew with the present values."""

    @abc.abstractmethod
    def advance(self) -> bool:
        """Go on by what fits between two frames (some milliseconds); False once nothing changes any more."""

    @abc.abstractmethod
    def view(self) -> View:
        """Return what there is to see now."""

    def set(self, changes: Mapping[str, Value]) -> None:
        """Change values; begins anew where a changed control asks for it.

        Raises:
            ConfigError: on an unknown control or an impossible value; nothing is changed then.
        """
        known = {control.name: control for control in self.controls()}
        read = {}
        for name, value in changes.items():
            if name not in known:
                raise ConfigError(f"there is no control '{name}'; {suggest(name, known)}")
            read[name] = known[name].read(value)
        changed = [name for name, value in read.items() if self.values[name] != value]
        self.values |= read
        if any(known[name].restarts for name in changed):
            self.restart()
