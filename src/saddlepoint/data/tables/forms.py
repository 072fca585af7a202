"""Forms of time: how one text is written, told from examples, as a pattern that reads and writes.

A form is a text like those of `strftime`. What it has beside them: ``%-d`` (and m, H, I) without a leading
zero, ``%q`` a quarter, ``%3f`` a fraction of three digits (``%f``: as many as it takes), ``%^b`` and ``%^B`` in
capitals, ``%#p`` in small letters, ``%:z`` +01:00, ``%#z`` +01, ``%z`` +0100.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Sequence
from typing import Any

MONTHS = {name.lower(): place for place, name in enumerate(calendar.month_abbr) if name}
MONTHS |= {name.lower(): place for place, name in enumerate(calendar.month_name) if name}
MONTHS["sept"] = 9

DIRECTIVE = re.compile(r"%(?:[-^#:_]|\d)?[A-Za-z%]")
_GROUPS = {
    "Y": r"(\d{4})", "y": r"(\d{2})", "m": r"(\d{2})", "-m": r"(\d{1,2})", "d": r"(\d{2})", "-d": r"(\d{1,2})",
    "H": r"(\d{2})", "-H": r"(\d{1,2})", "I": r"(\d{2})", "-I": r"(\d{1,2})", "M": r"(\d{2})", "S": r"(\d{2})",
    "f": r"(\d{1,9})", "j": r"(\d{3})", "q": r"([1-4])", "G": r"(\d{4})", "V": r"(\d{2})", "u": r"([1-7])",
    "b": r"([A-Za-z]{3,4})", "B": r"([A-Za-z]{3,9})", "a": r"([A-Za-z]{3})", "A": r"([A-Za-z]{6,9})",
    "p": r"([AaPp][Mm])", "z": r"([+-]\d{4})", ":z": r"([+-]\d{2}:\d{2})", "#z": r"([+-]\d{2})", "%": "%",
}  # fmt: skip

STRONG = {"time", "times", "date", "dates", "datetime", "timestamp", "timestamps", "year", "years", "yr", "datum",
          "zeit", "jahr", "epoch", "unix"}  # fmt: skip
WEAK = {"t", "ts", "day", "days", "week", "weeks", "month", "months", "quarter", "hour", "hours", "hr", "minute",
        "minutes", "second", "seconds", "sec", "index", "period", "step", "elapsed", "tag", "monat",
        "woche"}  # fmt: skip

_TIME_OF_DAY = (
    r"(?P<h>\d{1,2})(?::(?P<m>\d\d)(?::(?P<s>\d\d)(?:(?P<mark>[.,])(?P<f>\d{1,9}))?)?)"
    r"(?:(?P<pgap> ?)(?P<p>[AaPp][Mm]))?(?:(?P<zgap> ?)(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
)
_LATER = re.compile(rf"(?P<date>.+?)(?P<gap>[T_:-]| - |, ?| )?{_TIME_OF_DAY}")
_HOUR = re.compile(r"(?P<date>.+?)(?P<gap> )(?P<h>\d{1,2})(?P<pgap> ?)(?P<p>[AaPp][Mm])|"
                   r"(?P<date2>\d{4}-\d\d-\d\d)(?P<gap2>[T ])(?P<h2>\d\d)")  # fmt: skip
_EARLIER = re.compile(r"(?P<h>\d{1,2}):(?P<m>\d\d)(?::(?P<s>\d\d))?(?P<gap> |, )(?P<date>.+)")
_COMPACT = re.compile(r"(?P<date>\d{8})(?P<gap>[T _-]?)(?P<h>\d\d)(?P<m>\d\d)(?P<s>\d\d)?"
                      r"(?:(?P<mark>\.)(?P<f>\d{1,9}))?"
                      r"(?P<zgap> ?)(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?")  # fmt: skip
_THREE = re.compile(r"(\d{1,4})([-/. ]|\. )(\d{1,2})\2(\d{1,4})")
_NAMED = re.compile(
    r"(?:(?P<wd>[A-Za-z]{3,9})(?P<s0>,? ))?(?:(?P<a>\d{1,4})(?P<s1>[-/ .,]{0,2}))?(?P<mon>[A-Za-z]{3,9})"
    r"(?P<s2>[-/ .,']{0,2})(?P<b>\d{1,4})?(?:(?P<s3>[-/ .,']{1,2})(?P<c>\d{2,4}))?"
)
_SIMPLE = (
    (re.compile(r"\d{4}([-/.])\d{1,2}"), "%Y{0}%-m"), (re.compile(r"\d{1,2}([-/.])\d{4}"), "%-m{0}%Y"),
    (re.compile(r"\d{4}([Mm])\d{1,2}"), "%Y{0}%-m"), (re.compile(r"\d{4}([- /:]?[Qq])[1-4]"), "%Y{0}%q"),
    (re.compile(r"([Qq])[1-4]([- /]?)\d{4}"), "{0}%q{1}%Y"), (re.compile(r"[1-4]([Qq][- /]?)\d{4}"), "%q{0}%Y"),
    (re.compile(r"\d{4}(-?W)\d{2}"), "%G{0}%V"), (re.compile(r"\d{4}(-?W)\d{2}(-?)[1-7]"), "%G{0}%V{1}%u"),
    (re.compile(r"\d{4}([-/.])\d{3}"), "%Y{0}%j"),
)  # fmt: skip


def name_parts(name: str) -> set[str]:
    """Return the words of a name, small.

    >>> sorted(name_parts("timeIndex_2"))
    ['index', 'time']
    """
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def says_time(name: str) -> bool:
    """Whether a column is named like a time."""
    return bool(name_parts(name) & STRONG) or name.lower() in WEAK


def forms_of(text: str) -> list[str]:
    """Return the forms that a text may have, fields without leading zeros, the likelier first; [] if it is no time.

    >>> forms_of("01/03/16")
    ['%-d/%-m/%y', '%-m/%-d/%y', '%y/%-m/%-d']
    """
    if not 4 <= len(text) <= 48 or not any(c.isdigit() for c in text):
        return []
    found = list(_dates(text))
    for pattern in (_LATER, _COMPACT, _HOUR, _EARLIER):
        match = pattern.fullmatch(text)
        if match and not found:
            parts = match.groupdict("")
            parts = {key.removesuffix("2"): value for key, value in parts.items() if value} | {"gap": parts["gap"]}
            parts["gap"] = match.groupdict().get("gap2") or parts["gap"]
            time_of_day = _time_of_day(parts, short=pattern is not _COMPACT)
            for date in _dates(parts["date"]):
                first, last = (time_of_day, date) if pattern is _EARLIER else (date, time_of_day)
                found.append(f"{first}{parts['gap']}{last}")
    return found


def time_of_day_form_of(text: str) -> str:
    """Return the form of a time of the day without a date, or "".

    >>> time_of_day_form_of("7:05:00"), time_of_day_form_of("12")
    ('%-H:%M:%S', '')
    """
    match = re.fullmatch(_TIME_OF_DAY, text)
    return "" if match is None else _time_of_day(match.groupdict(""), short=True)


def _time_of_day(parts: dict[str, str], *, short: bool) -> str:
    hour = ("%-I" if parts.get("p") else "%-H") if short else "%H"
    colon = ":" if short else ""
    form = hour + (f"{colon}%M" if parts.get("m") else "") + (f"{colon}%S" if parts.get("s") else "")
    form += f"{parts['mark']}%f" if parts.get("f") else ""
    form += f"{parts.get('pgap', '')}%p" if parts.get("p") else ""
    zone = parts.get("zone", "")
    if zone:
        sign = zone if zone.isalpha() else {3: "%#z", 5: "%z", 6: "%:z"}[len(zone)]
        form += parts.get("zgap", "") + sign
    return form


def _dates(text: str) -> Iterator[str]:
    if match := _THREE.fullmatch(text):
        first, gap, _, last = match.groups()
        if len(first) == 4 and len(last) <= 2:
            orders = ["%Y{0}%-m{0}%-d", "%Y{0}%-d{0}%-m"]
        elif len(first) <= 2 and len(last) == 4:
            orders = ["%-d{0}%-m{0}%Y", "%-m{0}%-d{0}%Y"]
        elif len(first) <= 2 and len(last) == 2:
            orders = ["%-d{0}%-m{0}%y", "%-m{0}%-d{0}%y", *(["%y{0}%-m{0}%-d"] if len(first) == 2 else [])]
        elif len(first) == 2 and len(last) == 1:
            orders = ["%y{0}%-m{0}%-d"]
        else:
            orders = []
        yield from (order.format(gap) for order in orders)
    elif re.fullmatch(r"\d{8}", text):
        yield from ("%Y%m%d", "%d%m%Y", "%m%d%Y")
    elif match := next((m for pattern, _ in _SIMPLE if (m := pattern.fullmatch(text))), None):
        form = next(form for pattern, form in _SIMPLE if pattern.fullmatch(text))
        yield form.format(*match.groups())
    elif match := _NAMED.fullmatch(text):
        yield from _named(match.groupdict(""))


def _named(parts: dict[str, str]) -> Iterator[str]:
    if parts["mon"].lower() not in MONTHS:
        return
    name = "%B"  # settled by the whole column: May is either
    a, b, c = (len(parts[key]) for key in "abc")
    lead = ""
    if parts["wd"]:
        lead = ("%a" if len(parts["wd"]) == 3 else "%A") + parts["s0"]
    year = {2: "%y", 4: "%Y"}
    s1, s2, s3 = parts["s1"], parts["s2"], parts["s3"]
    if 1 <= a <= 2 and b in year and not c:
        yield f"{lead}%-d{s1}{name}{s2}{year[b]}"
        if a == 2 and b == 2:
            yield f"{lead}%y{s1}{name}{s2}%-d"
    elif a == 4 and 1 <= b <= 2 and not c:
        yield f"{lead}%Y{s1}{name}{s2}%-d"
    elif a == 4 and not b and not c:
        yield f"{lead}%Y{s1}{name}"
    elif not a and 1 <= b <= 2 and c in year:
        yield f"{lead}{name}{s2}%-d{s3}{year[c]}"
    elif not a and b in year and not c and not lead:
        yield f"{name}{s2}{year[b]}"


def pattern_of(form: str) -> re.Pattern[str]:
    """Return the regular expression of a form, with a group for each directive."""
    parts, last = [], 0
    for match in DIRECTIVE.finditer(form):
        parts.append(re.escape(form[last : match.start()]))
        key = re.sub(r"^[\^#_](?=[bBp])|^\d", "", match[0][1:])
        parts.append(_GROUPS.get(key, r"(\S+)"))
        last = match.end()
    return re.compile("".join(parts) + re.escape(form[last:]), re.IGNORECASE)


def loosely(form: str) -> str:
    """Return a form that takes fields with and without leading zeros.

    >>> loosely("%d.%m.%Y")
    '%-d.%-m.%Y'
    """
    return re.sub(r"%([dmHI])", r"%-\1", form)


def styled(form: str, texts: Sequence[str]) -> str:
    """Return a form with leading zeros, digits of fractions and cases as these texts have them.

    >>> styled("%-d/%-m/%Y", ["01/03/2016", "10/12/2016"])
    '%d/%m/%Y'
    """
    loose = loosely(form)
    matches = [match.groups() for text in texts if (match := pattern_of(loose).fullmatch(text))]
    if not matches:
        return form
    columns: list[Any] = list(zip(*matches, strict=True))
    place = iter(columns)
    return DIRECTIVE.sub(lambda found: _style(found[0], next(place)) if found[0] != "%%" else "%%", loose)


def _style(directive: str, seen: Sequence[str]) -> str:
    letter = directive[-1]
    if directive.startswith("%-"):
        padded = all(len(text) == 2 for text in seen)
        return f"%{letter}" if padded else directive
    if letter == "f":
        lengths = {len(text) for text in seen}
        return f"%{lengths.pop()}f" if len(lengths) == 1 else "%f"
    if letter in "bB":
        letter = "B" if any(len(text) > 4 for text in seen) or not any(len(text) == 3 for text in seen) else "b"
        upper = all(text.isupper() for text in seen)
        return f"%{'^' if upper else '_' if all(text.islower() for text in seen) else ''}{letter}"
    if letter == "p":
        return "%p" if all(text.isupper() for text in seen) else "%#p"
    return directive


def pandas_form(form: str) -> str:
    """Return the format that `pandas.to_datetime` takes for a form (quarters apart)."""
    return DIRECTIVE.sub(lambda found: f"%{found[0][-1]}" if found[0] != "%%" else "%%", form)
