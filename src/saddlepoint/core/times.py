"""Times as people write them: 90s, 3m, 1.5h."""

from __future__ import annotations

import math
import re

from saddlepoint.core.errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)\s*(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?![a-z])\s*"
"""An amount of time with its unit."""


def parse_budget(budget: str | float | None) -> float | None:
    """Return a budget in seconds, or None for no limit; see `parse_time`."""
    return None if budget is None else parse_time("budget", budget)


def parse_more(budget: str | float | None) -> tuple[float | None, bool]:
    """Return a budget in seconds, and whether it is ``+10m``: so much more than is spent.

    >>> parse_more("+10m"), parse_more("10m"), parse_more(None)
    ((600.0, True), (600.0, False), (None, False))
    """
    text = budget.strip() if isinstance(budget, str) else budget
    if isinstance(text, str) and text.startswith("+"):
        return parse_budget(text[1:]), True
    return parse_budget(budget), False


def parse_time(name: str, text: str | float) -> float:
    """Return seconds from ``"90s"``, ``"3min"``, ``"1.5 hours"``, ``"1h30m"``, or from a number (no text) of seconds.

    Raises:
        ConfigError: if it is none of these, not positive, or text without a unit; it names the option ``name``.

    >>> parse_time("budget", "3m"), parse_time("budget", "1 h 30 min"), parse_time("budget", 90)
    (180.0, 5400.0, 90.0)
    """
    parts = re.findall(_PART, str(text).lower())
    whole = re.fullmatch(rf"\s*(?:{_PART})+|\s*\d+(?:\.\d+)?\s*", str(text).lower()) is not None
    number = None if parts or not whole else float(text)
    seconds = sum(float(amount) * _UNITS[unit[0]] for amount, unit in parts) if number is None else number
    if not whole or not 0 < seconds < math.inf:
        hint = "; a new run has spent nothing that could be added to" if str(text).lstrip().startswith("+") else ""
        raise ConfigError(f"{name} is '{text}', but it must be a positive time such as 90s, 3m or 1.5h{hint}")
    if isinstance(text, str) and number is not None:
        amount = text.strip()
        raise ConfigError(
            f"{name} is '{amount}' without a unit: write {amount}s for seconds, {amount}m for minutes, {amount}h for "
            "hours"
        )
    return seconds
