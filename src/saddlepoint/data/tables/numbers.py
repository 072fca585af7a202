"""Numbers as texts hold them: decimal marks, marks between thousands, marks of missing values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.plan import OpenQuestion, Reading

MISSING = ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
           "NA", "NULL", "NaN", "None", "n/a", "nan", "null")  # fmt: skip
"""Marks of missing values, in columns of any kind: those of `pandas.read_csv`."""
MARKS = ("?", "-", "--", ".", "..", "...", "na", "none", "NONE", "Null", "Nan", "NAN", "missing", "Missing", "*", "NaT",
         "nil", "n.a.", "N.A.", "n/d", "ND", "nd", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?")  # fmt: skip
"""Texts that are marks of missing values where they stand among numbers."""
FEW = 0.1
"""A column with no more than this share of cells that are no numbers is one of numbers with faults in it."""

_BLANKS = "  \u00a0\u202f\u2009"
_APOSTROPHES = "'\u2019"
_CURRENCY = re.compile(r"^[$€£¥₹%]|[$€£¥₹%]$")
_FORMS = {
    "decimal": r"[+-]?(?:\d+{d}\d{{1,2}}|\d+{d}\d{{4,}}|0\d*{d}\d+|{d}\d+|\d{{4,}}{d}\d+"
    r"|\d{{1,3}}(?:{t}\d{{3}})+{d}\d*)",
    "open": r"[+-]?[1-9]\d{{0,2}}{d}\d{{3}}",
    "many": r"[+-]?[1-9]\d{{0,2}}(?:{d}\d{{3}}){{2,}}",
}


@dataclass(frozen=True)
class Evidence:
    """What cells tell of one mark: ``,`` or ``.``; each is the first cell of its kind with its column, or None.

    Attributes:
        decimal: cells in which it can only stand before decimals.
        many: cells in which it can only stand between thousands.
        open: cells in which it can be either.
        bare: whether whole numbers below 1,000 without it stand in a column with open cells.
    """

    decimal: tuple[str, str] | None = None
    many: tuple[str, str] | None = None
    open: tuple[str, str] | None = None
    bare: bool = False


def evidence(cells: Mapping[str, Sequence[str]], mark: str) -> Evidence:
    """Return what columns of cells tell of a mark."""
    other = r"\." if mark == "," else ","
    found: dict[str, tuple[str, str] | None] = dict.fromkeys(_FORMS)
    bare = False
    patterns = {
        kind: re.compile(form.format(d=re.escape(mark), t=f"[{other}{_BLANKS}{_APOSTROPHES}]"))
        for kind, form in _FORMS.items()
    }
    for column, texts in cells.items():
        open_here = False
        for text in texts:
            for kind, pattern in patterns.items():
                if pattern.fullmatch(text):
                    found[kind] = found[kind] or (column, text)
                    open_here |= kind == "open"
        bare |= open_here and any(re.fullmatch(r"[+-]?\d{1,3}", text) for text in texts)
    return Evidence(found["decimal"], found["many"], found["open"], bare)


def decimal_mark(name: str, cells: Mapping[str, Sequence[str]], asked: str | None) -> str:
    """Return the decimal mark of a table.

    Args:
        name: of the file, for messages.
        cells: examples of all columns.
        asked: by the user; None: by the cells.

    Raises:
        OpenQuestion: if either fits and the values differ.
        DataError: if columns contradict one another.
    """
    if asked is not None:
        return asked
    comma, point = evidence(cells, ","), evidence(cells, ".")
    for_comma, for_point = comma.decimal or point.many, point.decimal or comma.many
    if for_comma and for_point:
        raise DataError(
            f"{name}: column '{for_comma[0]}' holds '{for_comma[1]}' and column '{for_point[0]}' holds "
            f"'{for_point[1]}', "
            "numbers of two conventions; write all with one decimal mark"
        )
    if for_comma or for_point:
        return "," if for_comma else "."
    doubt = comma.open or (point.open if point.bare else None)
    if doubt is None:
        return "."
    mark = "," if comma.open else "."
    column, text = doubt
    shown = [t for t in cells[column] if mark in t][:3]
    whole = [t.replace(mark, "") for t in shown]
    parts = [t.replace(",", ".") for t in shown]
    readings = [
        Reading(f"thousands: {text} is {text.replace(mark, '')}", {"decimal": "." if mark == "," else ","}, whole),
        Reading(f"decimals: {text} is {text.replace(',', '.')}", {"decimal": mark}, parts),
    ]
    raise OpenQuestion(f"{name}: is the '{mark}' in '{text}' (column '{column}') a decimal mark, or one of thousands?",
                       readings)  # fmt: skip


def doubtful_points(cells: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Return a column and its first cell, where points that are read as decimal may stand between thousands.

    They may where all cells are like 1.015, and no other column shows what the point is.

    >>> doubtful_points({"a": ["1.015", "9.860"]}), doubtful_points({"a": ["1.015", "0.860"]})
    (('a', '1.015'), None)
    """
    point = evidence(cells, ".")
    return None if point.decimal or point.many or evidence(cells, ",").many else point.open


@dataclass(frozen=True)
class Numbers:
    """A column of texts as numbers.

    Attributes:
        values: Arrow array of int64 or float64, missing where the text is.
        thousands: mark between thousands; "" without.
        marks: texts that were taken for missing values, with how many.
        bad: row and text of the first cell that is no number; None: all are.
        few: whether cells that are no numbers are so few that the column is one of numbers.
    """

    values: Any
    thousands: str = ""
    marks: Mapping[str, int] = ()  # type: ignore[assignment]
    bad: tuple[int, str] | None = None
    few: bool = True


def to_numbers(column: Any, decimal: str) -> Numbers | None:
    """Return an Arrow column of texts as numbers; None if it holds others.

    Args:
        column: texts.
        decimal: mark before decimals.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column)
    if (kind := _as_numbers(texts, decimal)) is not None:
        return Numbers(kind)
    separator = rf"[{',' if decimal == '.' else '.'}{_BLANKS}{_APOSTROPHES}]"
    point = re.escape(decimal)
    pattern = rf"^[+-]?(?:\d{{1,3}}(?:{separator}\d{{3}})+|\d+)?(?:{point}\d*)?(?:[eE][+-]?\d+)?$"
    fits = pc.and_(pc.match_substring_regex(texts, pattern), pc.match_substring_regex(texts, r"\d"))
    wrong = pc.and_(pc.invert(fits), pc.is_valid(texts))
    wrong = pc.fill_null(wrong, False)
    odd = pc.filter(texts, wrong)
    counts = Counter(dict(zip(*(part.to_pylist() for part in pc.value_counts(odd).flatten()), strict=True)))
    there = len(texts) - texts.null_count
    marks = {text: n for text, n in counts.items() if text in MARKS}
    others = len(odd) - sum(marks.values())
    if there == sum(marks.values()) or (
        others and (others > FEW * there and not (len(counts) <= 2 and others * 2 < there))
    ):
        return None
    if others:
        mask = pc.and_(wrong, pc.invert(pc.is_in(texts, pa.array(list(marks), pa.string()))))
        row = int(np.argmax(mask.to_numpy()))
        return Numbers(None, bad=(row, texts[row].as_py()))
    clean = pc.if_else(wrong, pa.scalar(None, pa.string()), texts)
    plain = pc.replace_substring_regex(clean, separator, "")
    grouped = pc.filter(clean, pc.match_substring_regex(clean, separator))
    mark = re.search(separator, grouped[0].as_py())[0] if len(grouped) else ""  # type: ignore[index]
    return Numbers(_as_numbers(plain, decimal), mark, marks)


def _as_numbers(texts: Any, decimal: str) -> Any:
    """Return texts as int64 or float64, or None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if decimal != ".":
        if pc.any(pc.match_substring(texts, ".")).as_py():
            return None
        texts = pc.replace_substring(texts, decimal, ".")
    hexadecimal = pc.any(pc.match_substring_regex(texts, "[xX]")).as_py()  # 0x10 is a whole number to Arrow
    for kind in (pa.int64(), pa.float64())[bool(hexadecimal) :]:
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def sign_of(texts: Sequence[str], decimal: str) -> str:
    """Return the sign that stands before or behind each number (``$``, ``%``), or "" if they are none."""
    stripped = [_CURRENCY.sub("", text.strip()).strip() for text in texts]
    signs = {match[0] for text in texts if (match := _CURRENCY.search(text.strip()))}
    pattern = re.compile(r"[+-]?[\d.,' \u00a0\u202f]*\d")
    return signs.pop() if len(signs) == 1 and all(map(pattern.fullmatch, stripped)) else ""


def edge_mark(values: np.ndarray) -> tuple[float, int, float, float] | None:
    """Return a value that looks like a mark of missing ones: how often it stands, and the range of all others.

    It is the smallest or the largest, repeats, and lies farther from the next one than all others from one another.

    >>> edge_mark(np.r_[np.full(9, -200.0), np.arange(0, 50.0)])
    (-200.0, 9, 0.0, 49.0)
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 20:
        return None
    for edge in (float(finite.min()), float(finite.max())):
        at = finite == edge
        count = int(at.sum())
        if count < 3 or count > 0.9 * len(finite) or edge != round(edge, 3):
            continue
        others = finite[~at]
        low, high = float(others.min()), float(others.max())
        gap = low - edge if edge < low else edge - high
        if gap > max(high - low, 1e-9) and len(np.unique(others[:5000])) >= 10 and _is_mark(edge):
            return edge, count, low, high
    return None


def _is_mark(value: float) -> bool:
    """Whether a number is one that people write for nothing: -1, -200, 0, 99.9, -9999 ..."""
    digits = f"{abs(value):g}".replace(".", "")
    return (
        value == 0
        or set(digits) == {"9"}
        or bool(re.fullmatch(r"[1-9]0*|9+0*", digits))
        or digits in ("32767", "32768")
    )


MOST_DECIMALS = 10


def decimals_of(values: np.ndarray) -> int | None:
    """Return the digits after the point that all finite values do with; None if more than 10."""
    finite = values[np.isfinite(values)]
    few = finite[:: max(1, len(finite) // 1000)]
    with np.errstate(over="ignore", invalid="ignore"):  # rounding multiplies, and values may be as large as floats go
        for digits in range(MOST_DECIMALS + 1):
            if all(np.array_equal(np.round(part, digits), part) for part in (few, finite)):
                return digits
    return None


_VALUES, _FILLED = 10, 5
"""A grid has this many values, or so many that half of its places are taken: fewer are in step by chance."""
_PLACES = 100_000


def step_of(values: np.ndarray) -> float | None:
    """Return the common step of values on a grid that is coarser than their decimals; None if they are on none.

    >>> step_of(np.arange(0.0, 370, 10)), step_of(np.arange(20) * 1.15078), step_of(np.arange(20.0))
    (10.0, 1.15078, None)
    """
    known = np.unique(values[np.isfinite(values)])
    if len(known) < _FILLED:
        return None
    digits, span = decimals_of(known), float(known[-1] - known[0])
    if digits is None:
        apart = np.diff(known)
        least = float(apart[apart > 1e-9 * span].min())
        places = max(1.0, float(np.round(span / least)))
        exact = span / places
        step = round(exact, MOST_DECIMALS)
        step = step if abs(step - exact) < 1e-12 * exact else exact
    else:
        if np.abs(known).max() * 10.0**digits > 2**53:
            return None
        whole = np.rint((known - known[0]) * 10.0**digits).astype(np.int64)
        common = int(np.gcd.reduce(whole))
        if common == 1:
            return None
        step = round(common * 10.0**-digits, digits)
        places = float(whole[-1] // common)
    if not 0 < places <= _PLACES or step <= 0:
        return None
    at = (known - known[0]) / step
    fits = bool((np.abs(at - np.rint(at)) < 1e-6 * np.maximum(1, np.abs(at))).all()) and step > 0
    taken = len(np.unique(np.rint(at)))
    return step if fits and (taken >= _VALUES or (taken >= _FILLED and 2 * taken > places)) else None


def on_grid(values: np.ndarray, low: float, step: float, decimals: int | None) -> np.ndarray:
    """Return the nearest values of a grid.

    Args:
        values: any.
        low: a value of the grid.
        step: of the grid.
        decimals: digits after the point of its values; None: 10.
    """
    found: np.ndarray = low + np.rint((values - low) / step) * step
    return np.round(found, MOST_DECIMALS if decimals is None else decimals)
