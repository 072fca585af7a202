"""What entries of ``config.json``, ``status.json`` and the log are: what is damaged is refused before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

MOST_TEXT = 4096  # characters of a text: of a path, of a sentence

Kind = Callable[[Any], bool]


def text(value: Any) -> bool:
    """Whether it is text of a length that can be shown."""
    return isinstance(value, str) and len(value) <= MOST_TEXT


def count(value: Any) -> bool:
    """Whether it is a whole number from 0 on that a float can hold."""
    return type(value) is int and 0 <= value < 2**53


def number(value: Any) -> bool:
    """Whether it is a number, NaN and infinity included, that an array can hold."""
    # A whole number may have more digits than a float has room for.
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def finite(value: Any) -> bool:
    """Whether it is a number that can be reckoned with."""
    return number(value) and math.isfinite(value)


def mapping(value: Any) -> bool:
    """Whether it is an object."""
    return isinstance(value, dict)


def numbers(value: Any) -> bool:
    """Whether it is an object of numbers."""
    return isinstance(value, dict) and all(map(number, value.values()))


def texts(value: Any) -> bool:
    """Whether it is an object of texts."""
    return isinstance(value, dict) and all(map(text, value.values()))


def listed(kind: Kind) -> Kind:
    """Return whether it is a list of a kind."""
    return lambda value: isinstance(value, list) and all(map(kind, value))


def optional(kind: Kind) -> Kind:
    """Return whether it is of a kind, or null."""
    return lambda value: value is None or kind(value)


def first_wrong(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str | None:
    """Return the name of the first entry that is not of its kind; what is not there is not looked at."""
    return next((name for name, kind in kinds.items() if name in values and not kind(values[name])), None)


def _finding(value: Any) -> bool:
    """Whether it is a sentence of how the data was read: its words, its topic, whether it is sure."""
    needed = {"topic", "says"}
    return (
        mapping(value)
        and needed <= value.keys()
        and all(text(v) or v is None or type(v) is bool for v in value.values())
    )


def _precision(value: Any) -> bool:
    """Whether it is what training is computed in, and how much that gains."""
    speedup = value.get("speedup") if mapping(value) else None
    known = mapping(value) and value.keys() <= {"name", "speedup"} and value.get("name") in ("fp32", "bf16")
    return known and (speedup is None or (finite(speedup) and speedup > 0))


def _beginning(value: Any) -> bool:
    """Whether it says with which weights a run began: of which source, by their SHA-256."""
    words = ("source", "family", "preset", "data", "sha256")
    counts = ("step", "nimg")
    sound = mapping(value) and all(text(value.get(name)) for name in words)
    return sound and all(count(value.get(n)) for n in counts) and ("imported" not in value or texts(value["imported"]))


def _imported(value: Any) -> bool:
    """Whether it says from which file of others weights come."""
    words = ("file", "sha256", "form")
    return mapping(value) and all(text(value.get(name)) for name in words) and listed(text)(value.get("notes"))


_DATA: Mapping[str, Kind] = {
    **dict.fromkeys(("source", "name", "fingerprint", "modality"), text),
    **dict.fromkeys(("rows", "static"), count),
    **dict.fromkeys(("options", "layout", "look"), mapping),
    "shape": listed(count), "classes": listed(lambda value: isinstance(value, str)), "shares": listed(finite),
    "labelling": listed(listed(count)), "total": optional(count), "reading": listed(_finding),
}  # fmt: skip

_CONFIG: Mapping[str, Kind] = {
    **dict.fromkeys(("saddlepoint", "family", "preset", "device"), text),
    **dict.fromkeys(("options", "settings", "data", "machine", "export", "average"), mapping), "edits": listed(mapping),
    "threads": lambda value: value is None or text(value) or count(value),
    "processes": count, "precision": optional(_precision), "family_source": texts, "start_from": _beginning,
    "imported": _imported,
}  # fmt: skip

STATUS: Mapping[str, Kind] = {
    **dict.fromkeys(("state", "reason", "verdict"), text),
    **dict.fromkeys(("step", "nimg", "since_nimg"), count),
    **dict.fromkeys(("seconds", "epoch", "epsilon", "delta"), finite), "evidence": listed(text),
}  # fmt: skip
"""Entries of ``status.json``."""

_NEEDED = ("family", "preset", "options", "settings", "data")
_NEEDED_DATA = ("source", "name", "fingerprint", "modality", "shape", "classes", "rows")


def check_config(config: Any) -> None:
    """Refuse a configuration with an entry that is not what it should be.

    Raises:
        ValueError: naming it.
    """
    # Kinds only, and only of what is there: configurations of older versions lack entries that came later.
    if not isinstance(config, dict):
        raise ValueError("it holds no configuration")
    wrong = first_wrong(config, _CONFIG)
    if wrong is None and "data" in config and (part := first_wrong(config["data"], _DATA)) is not None:
        wrong = f"data.{part}"
    if wrong is not None:
        value = config["data"][wrong[5:]] if wrong.startswith("data.") else config[wrong]
        raise ValueError(f"'{wrong}' cannot be {str(value)[:60]!r}")


def check_complete(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that lacks what a run is described by.

    Raises:
        KeyError: with the name of the entry.
    """
    for name in _NEEDED:
        config[name]  # raises
    for name in _NEEDED_DATA:
        config["data"][name]


def is_sound(line: Any) -> bool:
    """Whether a line of the log is one that can be reckoned with: every entry that is read is what it should be."""
    if not isinstance(line, dict) or first_wrong(line, _LINE) is not None:
        return False
    needed = _EVENTS.get(line.get("event", ""), ())
    told = "nimg" in line or not (line.get("signs") or line.get("event"))
    return told and all(name in line for name in needed)


_LINE: Mapping[str, Kind] = {
    **dict.fromkeys(("step", "nimg", "number", "until", "alarm_nimg", "threads"), count),
    **dict.fromkeys(("event", "stage", "verdict", "why", "abandoned", "what"), text),
    **dict.fromkeys(("remedy", "undone"), optional(text)),
    **dict.fromkeys(("signs", "timing", "step_seconds"), numbers),
    "V": optional(number), "evidence": listed(text), "changes": mapping,
}  # fmt: skip
"""What the entries of a line of the log are that have a meaning to a reader; others are means of training."""

_CHANGE = (
    "step", "number", "verdict", "evidence", "alarm_nimg", "undone", "remedy", "why", "changes", "until", "abandoned",
)  # fmt: skip
_EVENTS = {"remedy": _CHANGE, "rollback": _CHANGE, "kept": ("step", "remedy"), "threads": ("threads",)}
"""Entries that an event must have."""
