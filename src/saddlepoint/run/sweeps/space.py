"""What a sweep goes over: options of a family, each with a range or with choices."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from saddlepoint.core.config import override
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.family import FamilyConfig

Kind = Literal["real", "whole", "choice"]
_SCALES = ("log", "linear")
_DECADE = 10.0
"""A range of positive numbers is gone over on a logarithmic scale where its ends are this far apart."""


@dataclass(frozen=True)
class Dimension:
    """One option of a family, and where it is looked for.

    Attributes:
        name: of the field of the family's configuration.
        kind: ``real`` or ``whole`` numbers of a range, or a ``choice`` of values as they are written.
        low, high: ends of the range, both of which are in it.
        log: whether the range is gone over on a logarithmic scale.
        choices: as they were written, in order.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as it could have been written after --over."""
        name = self.name.replace("_", "-")
        if self.kind == "choice":
            return f"{name}={('/' if any(',' in word for word in self.choices) else ',').join(self.choices)}"
        return f"{name}={self.low:g}..{self.high:g}:{'log' if self.log else 'linear'}"

    def holds(self, value: Any) -> Any:
        """Return a value of the configuration as a point of this dimension; None where it is none."""
        if self.kind == "choice":
            shown = _written(value)
            return next((word for word in self.choices if word == shown or _same_number(word, value)), None)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number and self.low <= value <= self.high else None


def read_over(texts: Iterable[str], config: FamilyConfig) -> tuple[Dimension, ...]:
    """Read ``lr=1e-4..1e-2``, ``batch_size=32,64`` or ``width=8..64:linear`` for the options of a family.

    Ranges hold both ends. Without ``:log`` or ``:linear`` one of positive numbers whose ends are a factor of 10 apart
    is gone over on a logarithmic scale. Choices stand between commas; of an option that is a list itself, between
    slashes: ``generator_widths=64,64/128,128``.

    Args:
        texts: one for each option.
        config: what the family would be trained with; each end and choice must be possible in it.

    Raises:
        ConfigError: on an option that the family has not, or one named twice, a range without a width, or a value that
            breaks the option's rule.
    """
    found = [_read(text, config) for text in texts]
    if not found:
        raise ConfigError("nothing is swept over; name an option and its range: --over lr=1e-4..1e-2")
    names = [dimension.name for dimension in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"'{name}' is swept over twice; give it one range")
    return tuple(found)


def _read(text: str, config: FamilyConfig) -> Dimension:
    name, equals, words = text.partition("=")
    name, words = name.strip().removeprefix("--").replace("-", "_"), words.strip()
    hints = typing.get_type_hints(type(config))
    if name not in (names := [field.name for field in dataclasses.fields(config)]):
        raise ConfigError(f"over is '{text}', but the family has no option '{name}'; {suggest(name, names)}")
    if not equals or not words:
        raise ConfigError(f"over is '{text}', but it must be an option with a range or choices, as lr=1e-4..1e-2")
    kinds = set(typing.get_args(hints[name]) or (hints[name],))
    dimension = _range(text, name, words, kinds) if ".." in words else _choices(text, name, words, hints[name])
    ends = dimension.choices or (_number(dimension.low, dimension.kind), _number(dimension.high, dimension.kind))
    for value in ends:
        try:
            override(config, {name: value})
        except ConfigError as error:  # in the option's own words
            raise ConfigError(f"over is '{text}', but {error}") from error
    return dimension


def _range(text: str, name: str, words: str, kinds: set[Any]) -> Dimension:
    begin, _, rest = words.partition("..")
    end, _, scale = rest.partition(":")
    if not kinds & {int, float}:
        raise ConfigError(f"over is '{text}', but '{name}' is no number; name its choices: {name}=ONE,TWO")
    try:
        low, high = float(begin), float(end)
    except ValueError as error:
        raise ConfigError(f"over is '{text}', but the ends of a range must be numbers, as lr=1e-4..1e-2") from error
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"over is '{text}', but the lower end of a range must be below the upper one")
    kind: Kind = "real" if float in kinds else "whole"
    if kind == "whole" and (low % 1 or high % 1):
        raise ConfigError(f"over is '{text}', but '{name}' takes whole numbers")
    if scale and scale not in _SCALES:
        raise ConfigError(f"over is '{text}': the scale is '{scale}'; {suggest(scale, _SCALES)}")
    if scale == "log" and low <= 0:
        raise ConfigError(f"over is '{text}', but a logarithmic range must lie above 0; write {begin}..{end}:linear")
    return Dimension(name, kind, low, high, scale == "log" or (not scale and low > 0 and high >= _DECADE * low))


def _choices(text: str, name: str, words: str, hint: Any) -> Dimension:
    lists = any(typing.get_origin(kind) is tuple for kind in (hint, *typing.get_args(hint)))
    chosen = tuple(word.strip() for word in words.split("/" if lists else ",") if word.strip())
    if len(set(chosen)) < max(2, len(chosen)):
        between = "/" if lists else ","
        raise ConfigError(
            f"over is '{text}', but there must be two different choices or more, with '{between}' between them, or a "
            "range, as 1e-4..1e-2"
        )
    return Dimension(name, "choice", choices=chosen)


def options_of(dimensions: Iterable[Dimension], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a trial from the values that were drawn for it."""
    return {d.name: _number(point[d.name], d.kind) for d in dimensions}


def _number(value: Any, kind: Kind) -> Any:
    return int(value) if kind == "whole" else value


def _written(value: Any) -> str:
    """Return a value of a configuration as it would be written."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _same_number(word: str, value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(word) == float(value)
    except (TypeError, ValueError):
        return False


def shown(value: object) -> str:
    """Return a value of an option, or a figure, as a cell of a table: four digits of a number, nothing for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
