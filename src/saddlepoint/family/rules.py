"""What options of most families must be, each rule said once: its words are those of the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saddlepoint.core.config import check

_RULES: Mapping[str, Callable[[Any], bool]] = {
    "at least 1": lambda value: value >= 1,
    "0 or more": lambda value: value >= 0,
    "positive": lambda value: value > 0,
    "positive, or none": lambda value: value is None or value > 0,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
}


def check_each(config: object, rule: str, *names: str) -> None:
    """Hold options against a rule.

    Args:
        config: with the options.
        rule: one of those above.
        names: of the options.

    Raises:
        ConfigError: at the first that breaks it, with its value and the rule.
    """
    for name in names:
        value = getattr(config, name)
        check(_RULES[rule](value), name, value, rule)
