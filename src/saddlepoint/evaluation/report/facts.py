"""What a reader wants to know first of a run's configuration: options that differ, and what was chosen by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saddlepoint.core.config import describe, from_json
from saddlepoint.family import get_family


def changed_options(config: Mapping[str, Any]) -> list[str]:
    """Return the options of a run that differ from its preset's, as "lr 0.01 (preset: 0.002)"."""
    kind = get_family(config["family"])
    if config["preset"] not in kind.PRESETS:
        return []
    own = describe(kind.Config, from_json(kind.Config, config["options"]))
    usual = describe(kind.Config, kind.PRESETS[config["preset"]])
    return [
        f"{name.removeprefix('--')} {value} (preset: {other})"
        for (name, value, _), (_, other, _) in zip(own, usual, strict=True)
        if value != other
    ]


def chosen_options(config: Mapping[str, Any]) -> list[str]:
    """Return what training chose by itself for this data on this machine: size, options, precision."""
    found = [
        finding["why"] or finding["says"] if finding["topic"] == "size" else finding["says"]
        for finding in ({"why": "", "sure": True, **finding} for finding in config["data"].get("reading", []))
        if finding["topic"] == "options" or (finding["topic"] == "size" and not finding["sure"])
    ]
    precision = config.get("precision") or {}
    if config["settings"].get("precision") == "auto" and precision.get("speedup") is not None:
        found.append(f"precision {precision['name']}")
    return found
