"""Times as people write them: 90s, 3m, 1.5h."""

from __future__ import annotations

import re

from saddlepoint._errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_budget(budget: str | float | None) -> float | None:
    """Return a budget in seconds, or None for no limit; see `parse_time`."""
    return None if budget is None else parse_time("budget", budget)


def parse_time(name: str, text: str | float) -> float:
    """Return seconds from ``"90s"``, ``"3m"``, ``"1.5h"``, ``"1d"``, or from a number (no text) of seconds.

    Raises:
        ConfigError: if it is none of these, not positive, or text without a unit; it names the option ``name``.

    >>> parse_time("budget", "3m"), parse_time("budget", 90)
    (180.0, 90.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) == 0:
        hint = "; a new run has spent nothing that could be added to" if str(text).lstrip().startswith("+") else ""
        raise ConfigError(f"{name} is '{text}', but it must be a positive time such as 90s, 3m or 1.5h{hint}")
    if isinstance(text, str) and not match[2]:
        amount = match[1]
        raise ConfigError(
            f"{name} is '{amount}' without a unit: write {amount}s for seconds, {amount}m for minutes, {amount}h for "
            "hours"
        )
    return float(match[1]) * _UNITS[match[2] or "s"]
