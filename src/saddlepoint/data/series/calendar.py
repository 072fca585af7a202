"""The calendar: which of its parts the times of a table can teach, and where in its turns a time stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.data.plan import Finding
from saddlepoint.data.series.time_index import DAY, HOUR, MONTH

PARTS = ("hour", "weekday", "season")
"""Hour of the day, day of the week, day of the year."""

_YEARS, _WEEKS, _DAYS = 2, 2, 2
"""Turns that the training rows must span to teach a part."""

_NAMES = {"hour": "the hour of the day", "weekday": "the weekday", "season": "the season"}


def phases(times: np.ndarray, parts: Sequence[str]) -> np.ndarray:
    """Return where times stand in each part's turn: float64 (*times, part) in [0, 1).

    Monday is 0 of the week's turn, 1 January that of the year; a day counts as a whole in the week.

    Args:
        times: nanoseconds since 1970.
        parts: some of `PARTS`.
    """
    stamps = np.asarray(times, dtype=np.int64).astype("datetime64[ns]")
    days = stamps.astype("datetime64[D]")
    found = np.empty((*stamps.shape, len(parts)))
    for place, part in enumerate(parts):
        if part == "hour":
            turn = (stamps - days).astype(np.int64) / DAY
        elif part == "weekday":
            turn = (days.astype(np.int64) + 3) % 7 / 7
        else:
            year = stamps.astype("datetime64[Y]")
            begin, end = (of.astype("datetime64[ns]").astype(np.int64) for of in (year, year + np.timedelta64(1, "Y")))
            turn = (stamps.astype(np.int64) - begin) / (end - begin)
        found[..., place] = turn
    return found


def parts_of(times: np.ndarray, step: float, unit: str, asked: bool) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the parts that training rows can teach, and what to say.

    Args:
        times: nanoseconds of the training rows.
        step: usual step, in the unit.
        unit: as in `TimeIndex`.
        asked: whether the user asked for it, and is to be told why a part is missing.
    """
    length = step * {"time": 1, "working days": DAY}.get(unit, MONTH)
    span = float(times.max() - times.min())
    rules = {
        "hour": (length < DAY, span >= _DAYS * DAY, f"{_DAYS} days"),
        "weekday": (length <= DAY and unit == "time", span >= _WEEKS * 7 * DAY, f"{_WEEKS} weeks"),
        "season": (length <= 3.1 * MONTH, span >= _YEARS * 365 * DAY, f"{_YEARS} years"),
    }
    parts = tuple(part for part, (fits, spans, _) in rules.items() if fits and spans)
    short = [f"{_NAMES[part]} needs {least}" for part, (fits, spans, least) in rules.items() if fits and not spans]
    findings = []
    if parts:
        told = [_NAMES[part] for part in parts]
        words = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
        why = f"the training rows span {_span(span)}" + (f"; {', '.join(short)}" if short else "")
        says = f"samples are told {words}, so that their times agree with their values"
        findings.append(Finding("calendar", says, why, "--calendar off", sure=False))
    elif short or asked:
        reason = "; ".join(short) or "steps are too long, or leave out weekends"
        says = "times of samples are positions only: nothing tells them the calendar"
        findings.append(Finding("calendar", says, f"the training rows span {_span(span)}: {reason}"))
    return parts, findings


def _span(span: float) -> str:
    for size, word in ((365.25 * DAY, "years"), (DAY, "days"), (HOUR, "hours")):
        if span >= 2 * size:
            return f"{span / size:.1f} {word}".replace(".0 ", " ")
    return f"{span / HOUR:.1f} hours"
