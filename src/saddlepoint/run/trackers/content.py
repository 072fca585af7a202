"""What a run wrote, as trackers take it: numbers and words of a line of the log, of its configuration, of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saddlepoint.core.quoting import for_markdown
from saddlepoint.data import short_name
from saddlepoint.engine.doctor.rules import ALARMS

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report

_PLACES = ("step", "nimg")
_DATA = ("fingerprint", "shape", "modality", "rows")
_GENERAL = ("saddlepoint", "family", "preset", "device", "threads", "processes")

Setting = str | int | float | bool
"""A hyper-parameter as a tracker keeps it."""


def place_of(line: Mapping[str, Any]) -> tuple[int, str]:
    """Return where a line stands in the order of a log: its step, and after the report of a step its events."""
    return int(line.get("step", 0)), str(line.get("event", ""))


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a report's line: means, the doctor's indicators, samples seen, time; finite ones.

    >>> numbers_of({"step": 10, "nimg": 640, "V": -1.2, "signs": {"spread": 0.9}, "verdict": "no trouble seen"})
    {'V': -1.2, 'doctor/spread': 0.9, 'doctor/alarm': 0.0, 'progress/kimg': 0.64}
    """
    if "event" in line:
        return {}
    found = {name: value for name, value in line.items() if name not in _PLACES}
    found |= {f"doctor/{name}": value for name, value in (line.get("signs") or {}).items()}
    if "verdict" in line:
        found["doctor/alarm"] = float(line["verdict"] in ALARMS)
    found["progress/kimg"] = line.get("nimg", 0) / 1000
    if "timing" in line:
        found["progress/seconds"] = line["timing"].get("seconds")
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def event_of(line: Mapping[str, Any]) -> str:
    """Return in words what an event of the log says; "" for a report.

    >>> event_of({"step": 7, "event": "threads", "threads": 2})
    'threads: threads 2'
    """
    if "event" not in line:
        return ""
    told = (f"{name} {value}" for name, value in line.items() if name not in (*_PLACES, "event") and value is not None)
    return f"{line['event']}: {', '.join(told)}"


def settings_of(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the hyper-parameters of a run: what was trained on what, options and settings; no path of this machine."""
    data = config["data"]
    found: dict[str, Any] = {name: config[name] for name in _GENERAL if name in config}
    found["data"] = short_name(str(data.get("name", data["source"])))
    found |= {f"data/{name}": data[name] for name in _DATA if name in data}
    for part in ("options", "settings"):
        found |= {f"{part}/{name}": value for name, value in config[part].items()}
    if "precision" in config:
        found["precision"] = config["precision"].get("name")
    return {name: _setting(value) for name, value in found.items()}


def figures_of(report: Report) -> dict[str, float]:
    """Return the figures of a report's samples, each with the ends of its 95% interval where it has one."""
    found = dict[str, Any]()
    for result in report.results:
        for row in result.rows:
            if row.role == "model":
                name = f"figures/{result.protocol}/{row.metric}"
                low, high = row.interval or (None, None)
                found |= {name: row.value, f"{name}/low": low, f"{name}/high": high}
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def table_of(report: Report) -> str:
    """Return all rows of a report, control rows too, as a table of Markdown below its verdict."""
    lines = [for_markdown(report.verdict), "", "| protocol | figure | of | value | 95% interval |", "|---" * 5 + "|"]
    for result in report.results:
        for row in result.rows:
            interval = "" if row.interval is None else f"{row.interval[0]:.6g} to {row.interval[1]:.6g}"
            words = (result.protocol, row.metric, row.row)
            lines.append(f"| {' | '.join(map(for_markdown, words))} | {row.value:.6g} | {interval} |")
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    """Whether a value is a number that every tracker keeps as it is: MLflow makes infinity 1.8e308."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _setting(value: Any) -> Setting:
    """Return a hyper-parameter as a number, a truth or text; lists and None as text."""
    if isinstance(value, bool | str) or _is_number(value):
        return value
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
