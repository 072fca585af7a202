"""How a table of text is laid out, told from its first lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.forms import forms_of, time_of_day_form_of
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.numbers import MISSING

_LINES = 400
"""Lines of the start of a file by which its layout is told."""
_NUMBER = re.compile(r"[+-]?(?:\d[\d.,' \u00a0\u202f\u2009\u2019]*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")
_COMMENTS = ("#", "%", "//")


@dataclass(frozen=True)
class TextLayout:
    """How a file of text is laid out.

    Attributes:
        delimiter: between cells; " ": runs of blanks.
        names: of the columns; those without one are "".
        start: bytes before the first row.
        line: number of the line of the first row.
        look: of the file.
        findings: what was decided.
    """

    delimiter: str
    names: tuple[str, ...]
    start: int
    line: int
    look: Look
    findings: tuple[Finding, ...] = ()


def layout_of(path: Path, start: bytes, header: bool | None) -> TextLayout:
    """Tell the layout of a file from its first lines.

    Args:
        path: for messages.
        start: as from `start_of`.
        header: whether a line names the columns; None: by what the lines hold.

    Raises:
        OpenQuestion: if the first line may be names or values.
        DataError: if it is no UTF-8, or names a column twice.
    """
    raw = re.findall(rb"[^\r\n]*(?:\r\n|\n|\r|$)", start[: 1024**2])[:_LINES]
    lines = []
    for place, line in enumerate(raw):
        try:
            lines.append(line.decode("utf-8-sig" if not place else "utf-8").strip("\r\n"))
        except UnicodeDecodeError as error:
            if place + 1 == len(raw):
                break  # the last one may be cut
            raise DataError(
                f"{path}: line {place + 1} is not UTF-8 text ({error.reason}); save the file as UTF-8"
            ) from error
    return _Sniffer(path, raw, lines, header).layout()


class _Sniffer:
    """Walks down the first lines: what stands above the names, the names, a line of units, the first row."""

    def __init__(self, path: Path, raw: list[bytes], lines: list[str], header: bool | None) -> None:
        self.path, self.raw, self.lines, self.header = path, raw, lines, header
        self.at, self.findings, self.told = 0, list[Finding](), ""
        self.comment = ""

    def layout(self) -> TextLayout:
        self._skip_comments()
        self._refuse_wide()
        self.delimiter = self.told or self._delimiter()
        cells = {place: row for place, row in enumerate(map(self.cells, self.lines)) if place >= self.at and any(row)}
        places = sorted(cells)
        width = Counter(len(cells[place]) for place in places[len(places) // 4 :]).most_common(1)[0][0]
        self._skip_titles(cells, width)
        places = [place for place in sorted(cells) if place >= self.at]
        rows = [cells[place] for place in places]
        named = self._is_named(rows)
        names = list(rows[0]) if named else [f"column{i + 1}" for i in range(len(rows[0]))]
        data = places[1:] if named else places
        if named and len(data) > 2 and self._units(cells, data):
            self._say(f"line {data[0] + 1} holds units ({_shown(cells[data[0]])}) and is left out")
            data = data[1:]
        elif not named and self.comment and len(row := self.cells(self.comment)) == len(rows[0]):
            names = row
            self._say(f"the names of the columns stand in the comment above the rows ({_shown(names)})")
        names = [name.strip() for name in names]
        if all(re.fullmatch(r"'[^']+'", name) for name in names):
            names = [name.strip("'") for name in names]
        if named and data:
            names = self._shifted(names, [cells[place] for place in data])
        self._refuse_twice(names, places[0])
        line = data[0] if data else len(self.lines)
        quoted = any('"' in self.lines[place] for place in data[:50])
        look = Look(self.delimiter, ".", "", quoted, named and '"' in self.lines[places[0]], named)
        start = sum(map(len, self.raw[:line]))
        return TextLayout(self.delimiter, tuple(names), start, line + 1, look, tuple(self.findings))

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line, without quotes and blanks around them."""
        if self.delimiter == " ":
            found = re.findall(r'"[^"]*"|\S+', line)
            return [cell.strip('"') for cell in found]
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter), [])]
        except csv.Error:
            return line.split(self.delimiter)

    def _refuse_wide(self) -> None:
        """Refuse lines with absurdly many cells before all of them are cut up, and compared."""
        for line in self.lines[self.at :]:
            self.delimiter = max(self.told or ",;\t|", key=line.count)
            if line.count(self.delimiter) >= limits.MOST_COLUMNS:
                limits.check_columns(str(self.path), len(self.cells(line)))

    def _say(self, text: str) -> None:
        self.findings.append(Finding("source", text))

    def _skip_comments(self) -> None:
        count = 0
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            if match := re.fullmatch(r'"?sep=(.)"?', line, re.IGNORECASE):
                self.told = match[1]
            elif line.startswith(_COMMENTS) and not re.match(r"(#|%|//)\s*[,;|\t]", self.lines[self.at].lstrip()):
                count, self.comment = count + 1, line.lstrip("#%/ \t")
            elif line:
                break
            self.at += 1
        if count:
            self._say(
                f"{count} line{'s'[: count - 1]} of comments above the table {'is' if count == 1 else 'are'} left out"
            )
        if self.at == len(self.lines):
            raise DataError(f"{self.path} is empty; a CSV has a line of column names, then rows of numbers")

    def _delimiter(self) -> str:
        """Return the delimiter that cuts most lines into one number of cells, more than one."""
        lines = [line for line in self.lines[self.at :] if line.strip()]
        best, mark = (0.0, 0), ","
        for delimiter in ",;\t|":
            self.delimiter = delimiter
            widths = [len(self.cells(line)) for line in lines]
            width, count = Counter(widths[len(widths) // 4 :]).most_common(1)[0]
            even = count / len(widths[len(widths) // 4 :])
            agrees = widths[0] == width
            if width > 1 and even >= 0.8 and (even + agrees, width) > best:
                best, mark = (even + agrees, width), delimiter
        self.delimiter = mark
        widths = [len(self.cells(line)) for line in lines]
        if mark == "," and widths[0] == 1 and set(widths[1:]) == {2} and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", lines[1]):
            return ";"  # one column of numbers with a decimal comma
        blanks = [len(re.findall(r'"[^"]*"|\S+', line)) for line in lines]
        if not best[1] and len(blanks) > 1 and max(blanks) > 1:
            rest = set(blanks[1:])
            if len(rest) == 1 and blanks[0] in (max(rest), max(rest) - 1) and _is_value(lines[1].split()[-1]):
                return " "
        return mark

    def _skip_titles(self, cells: dict[int, list[str]], width: int) -> None:
        """Leave out lines above the names, which have fewer cells than the table."""
        places = sorted(cells)[:30]
        first = next((place for place in places if len(cells[place]) == width), self.at)
        before = [place for place in places if place < first]
        if before and len(before) == 1 and len(cells[before[0]]) == width - 1:
            names_below = not any(_is_value(cell) for cell in cells[first] if cell)
            if width > 2 or not names_below:
                return  # names without one for the first column
        if before and any(len(cells[place]) < width for place in before):
            self._say(f"{len(before)} line{'s'[: len(before) - 1]} above the names of the columns left out "
                      f"('{self.lines[before[0]].strip()[:40]}')")  # fmt: skip
            self.at = first

    def _is_named(self, rows: list[list[str]]) -> bool:
        """Whether the first line names the columns."""
        if self.header is not None:
            return self.header
        first, body = rows[0], rows[1:]
        values = [place for place, cell in enumerate(first) if _is_value(cell)]
        columns = [[row[place] for row in body if place < len(row) and row[place]] for place in range(len(first))]
        numeric = [bool(column) and sum(map(_is_value, column)) > len(column) / 2 for column in columns]
        if any(numeric[place] and cell and place not in values for place, cell in enumerate(first)) or not values:
            return True
        counting = _counts(first[place] for place in values)
        of_frame = counting == 0 and (len(values) > 2 or not first[0])  # names of a frame of pandas without any
        if of_frame or (counting is not None and 2 < len(values) < len(first)):
            self.findings.append(
                Finding("columns", f"the first line names the columns ({_shown(first)})", "its numbers count up",
                        "--no-header", sure=False)
            )  # fmt: skip
            return True
        if self.comment and len(self.cells(self.comment)) == len(first):
            return False
        what = "numbers" if all(_NUMBER.fullmatch(cell) for cell in first if cell) else "a date or numbers"
        rest = [", ".join(row) for row in rows[1:3]]
        readings = [
            Reading("it is the first row of values; the columns have no names", {"header": False},
                    [f"names: {', '.join(f'column{i + 1}' for i in range(len(first)))}", f"rows: {', '.join(first)}",
                     *rest]),
            Reading("it names the columns", {"header": True}, [f"names: {', '.join(first)}", *rest]),
        ]  # fmt: skip
        line = self.at + 1
        raise OpenQuestion(
            f"{self.path}: line {line} holds {what} ({self.lines[self.at].strip()[:60]}): does it name the columns?",
            readings,
        )

    def _units(self, cells: dict[int, list[str]], data: list[int]) -> bool:
        """Whether the line below the names holds units: text above numbers in every column that has any."""
        units, below = cells[data[0]], [cells[place] for place in data[1:20]]
        if any(_is_value(cell) for cell in units) or not any(units):
            return False
        texts = [place for place, cell in enumerate(units) if cell and cell not in MISSING]
        over = [
            place
            for place in texts
            if all(place < len(row) and (_is_value(row[place]) or not row[place]) for row in below)
        ]
        return bool(over) and len(over) >= len(texts) / 2 and all(cell not in MISSING or not cell for cell in units)

    def _shifted(self, names: list[str], rows: list[list[str]]) -> list[str]:
        """Return names, with one for a first column that has none (as R writes tables)."""
        width = Counter(map(len, rows)).most_common(1)[0][0]
        if width != len(names) + 1:
            return names
        if not any(row[-1] for row in rows if len(row) == width):
            return [*names, ""]
        firsts = [row[0] for row in rows if len(row) == width]
        if len(set(firsts)) < len(firsts):
            return names
        self._say("the first column has no name: the first line names one column fewer than the rows have")
        return ["", *names]

    def _refuse_twice(self, names: list[str], place: int) -> None:
        counts = Counter(name for name in names if name)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise DataError(
                f"{self.path}: line {place + 1} names column '{twice[0]}' {counts[twice[0]]} times; rename one"
            )


def _is_value(cell: str) -> bool:
    """Whether a cell holds a number or a time."""
    return bool(_NUMBER.fullmatch(cell)) or bool(forms_of(cell)) or bool(time_of_day_form_of(cell))


def _counts(cells: Iterator[str] | Sequence[str]) -> int | None:
    """Return the first of whole numbers that go up by one step; None if they do not."""
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError:
        return None
    steps = {b - a for a, b in pairwise(numbers)}
    return numbers[0] if len(steps) <= 1 and min(steps, default=1) > 0 else None


def _shown(cells: Sequence[str]) -> str:
    text = ", ".join(cell for cell in cells if cell)
    return text if len(text) <= 60 else text[:57] + "..."
