"""Tables as they come from many hands: a whole one is drawn, then changed in one to four ways."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from hypothesis import strategies as st

ROWS = 60
START = dt.datetime(2021, 3, 4, 5, 6, 7)
TIMES: tuple[Callable[[int], str], ...] = (
    *(
        lambda i, form=form: (START + dt.timedelta(days=i)).strftime(form)
        for form in (
            "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%Y%m%d", "%d %b %Y", "%b %d, %Y",
            "%B %d %Y", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S+02:00",
        )
    ),
    lambda i: str(1_614_834_367 + 3600 * i),
    lambda i: str(1_614_834_367_000 + 60_000 * i),
    lambda i: str(1900 + i),
    lambda i: f"{1960 + i // 4}Q{i % 4 + 1}",
    lambda i: f"{1960 + i // 12}-{i % 12 + 1:02d}",
    lambda i: str(i),
    lambda i: f"{i / 10:g}",
    lambda i: f"{1960 + i / 12:.4f}",
)  # fmt: skip
MARKS = ("", "NA", "NaN", "-", "?", "null", "None", "-999", "-9999", "n/a", "#N/A", ".", "missing", "nan", "inf", " ")
ODD = (
    "[1, 2]", '{"a": 1}', "1,5", "1.234,5", "1 234", "12 mm", "5%", "$3", "1e400", "-1e308", "0x10", "1_000",
    "TRUE", "yes", "9" * 25, "1/0", "--1", "+5", "2021-02-30", "31/12/2021", "24:00", "é", "\u2212 3", "=1+1", "1e",
)  # fmt: skip
SEPARATORS = (",", ";", "\t", "|", " ")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252")


@dataclass(repr=False)
class Mutant:
    """A table, column by column, and how it is written.

    Attributes:
        columns: (name, cells) in the order of the file.
        separator, quoted, encoding, newline: how it is written; ``quoted``: ``all``, ``texts`` or ``needed``.
        above: lines before the names.
        below: lines that stand right under the names.
        header: whether the names are written.
        extra: (number of the row, line) written before that row.
        story: what was changed.
    """

    columns: list[tuple[str, list[str]]]
    separator: str = ","
    quoted: str = "needed"
    encoding: str = "utf-8"
    newline: str = "\n"
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    header: bool = True
    extra: list[tuple[int, str]] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.story} {self.content()[:400]!r}"

    def content(self) -> bytes:
        """Return the file."""
        lines = [self._line([name for name, _ in self.columns])] if self.header else []
        rows = max((len(cells) for _, cells in self.columns), default=0)
        lines += self.below
        extra = dict(self.extra)
        for row in range(rows):
            if row in extra:
                lines.append(extra[row])
            lines.append(self._line([cells[row] for _, cells in self.columns if row < len(cells)]))
        text = self.newline.join([*self.above, *lines]) + self.newline
        return text.encode(self.encoding, "replace")

    def _line(self, cells: Sequence[str]) -> str:
        return self.separator.join(self._cell(cell) for cell in cells)

    def _cell(self, cell: str) -> str:
        needs = self.separator in cell or '"' in cell
        texts = self.quoted == "texts" and not _is_number(cell)
        return '"' + cell.replace('"', '""') + '"' if needs or texts or self.quoted == "all" else cell

    def frame(self) -> pd.DataFrame | None:
        """Return the file as pandas reads it, told how it is written; None if pandas does not read it."""
        # Without the lines around the names: where lines end in CR alone, pandas' skiprows takes the names for one.
        bare = dataclasses.replace(self, above=[], below=[]).content()
        try:
            return pd.read_csv(
                io.BytesIO(bare), sep=self.separator, encoding=self.encoding,
                header=0 if self.header else None, skip_blank_lines=True, low_memory=False,
            )  # fmt: skip
        except (ValueError, OverflowError):  # pandas' own errors are ValueErrors
            return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@st.composite
def mutants(draw: st.DrawFn) -> Mutant:
    """Tables of a few columns with one to four changes."""
    mutant = draw(_whole())
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(CHANGES)))
        mutant.story.append(name)
        CHANGES[name](draw, mutant)
    return mutant


@st.composite
def _whole(draw: st.DrawFn) -> Mutant:
    series = draw(st.sampled_from((1, 1, 2, 3)))
    time = draw(st.sampled_from(TIMES))
    steps = range(ROWS // series)
    columns = [("when", [time(i) for i in steps] * series)]
    if series > 1:
        named = draw(st.booleans())
        columns.insert(
            draw(st.integers(0, 1)), ("which", [f"s{k}" if named else str(k) for k in range(series) for _ in steps])
        )
    rows = range(len(columns[0][1]))
    columns.append(("level", [f"{20 + 5 * math.sin(i / 3):.2f}" for i in rows]))
    columns.append(("count", [str(100 + i * 7 % 23) for i in rows]))
    if draw(st.booleans()):
        columns.append(("kind", [("dry", "wet", "hot")[i * i % 3] for i in rows]))
    if draw(st.booleans()):
        columns.append(("on", [str(i % 4 == 0) for i in rows]))
    return Mutant(columns, story=[columns[0][1][0]])


Draw = st.DrawFn


def _separator(draw: Draw, mutant: Mutant) -> None:
    mutant.separator = draw(st.sampled_from(SEPARATORS))


def _quotes(draw: Draw, mutant: Mutant) -> None:
    mutant.quoted = draw(st.sampled_from(("all", "texts")))


def _encoding(draw: Draw, mutant: Mutant) -> None:
    mutant.encoding = draw(st.sampled_from(ENCODINGS))
    mutant.columns[-1] = ("größe", mutant.columns[-1][1])


def _newline(draw: Draw, mutant: Mutant) -> None:
    mutant.newline = draw(st.sampled_from(("\r\n", "\r")))


def _column(draw: Draw, mutant: Mutant) -> int:
    return draw(st.integers(0, len(mutant.columns) - 1))


def _some_rows(draw: Draw, mutant: Mutant, most: int = 12) -> list[int]:
    rows = max(1, min((len(cells) for _, cells in mutant.columns), default=1))
    return draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=most, unique=True))


def _put(mutant: Mutant, column: int, rows: Sequence[int], text: Callable[[str], str]) -> None:
    cells = mutant.columns[column][1]
    for row in rows:
        if row < len(cells):
            cells[row] = text(cells[row])


def _mark(draw: Draw, mutant: Mutant) -> None:
    mark = draw(st.sampled_from(MARKS))
    mutant.story.append(mark)
    _put(mutant, _column(draw, mutant), _some_rows(draw, mutant), lambda _: mark)


def _odd_cell(draw: Draw, mutant: Mutant) -> None:
    odd = draw(st.sampled_from(ODD))
    mutant.story.append(odd)
    _put(mutant, _column(draw, mutant), _some_rows(draw, mutant, 3), lambda _: odd)


def _odd_column(draw: Draw, mutant: Mutant) -> None:
    odd = draw(st.sampled_from(ODD))
    mutant.story.append(odd)
    column = _column(draw, mutant)
    _put(mutant, column, range(len(mutant.columns[column][1])), lambda _: odd)


def _decimal_comma(draw: Draw, mutant: Mutant) -> None:
    mutant.separator = draw(st.sampled_from((";", "\t", ",")))
    for name, cells in mutant.columns:
        if name in ("level", "when"):
            cells[:] = [cell.replace(".", ",") if _is_number(cell) else cell for cell in cells]


def _thousands(draw: Draw, mutant: Mutant) -> None:
    mark = draw(st.sampled_from((",", ".", " ", "'")))
    for name, cells in mutant.columns:
        if name == "count":
            cells[:] = [f"{int(cell) * 97:,}".replace(",", mark) if cell.isdecimal() else cell for cell in cells]


def _units(draw: Draw, mutant: Mutant) -> None:
    unit = draw(st.sampled_from((" mm", "%", "€", " km/h")))
    for name, cells in mutant.columns:
        if name == "level":
            cells[:] = [cell + unit for cell in cells]


def _line_of_units(draw: Draw, mutant: Mutant) -> None:
    unit = draw(st.sampled_from(("mm", "(C)", "", "float")))
    mutant.below.append(mutant.separator.join(unit for _ in mutant.columns))


def _lines_above(draw: Draw, mutant: Mutant) -> None:
    lines = ("# made by hand", "Station: Kiel, 54.3 N", "", "some words;and more", "#,,,", "sep=;")
    mutant.above = draw(st.lists(st.sampled_from(lines), min_size=1, max_size=3))


def _without_header(_: Draw, mutant: Mutant) -> None:
    mutant.header = False


def _line_within(draw: Draw, mutant: Mutant) -> None:
    names = mutant.separator.join(name for name, _ in mutant.columns)
    lines = ("", mutant.separator * (len(mutant.columns) - 1), "# a remark", names, "Total", "\x00")
    mutant.extra.append((draw(st.integers(0, ROWS - 1)), draw(st.sampled_from(lines))))


def _removed(draw: Draw, mutant: Mutant) -> None:
    if len(mutant.columns) > 1:
        del mutant.columns[_column(draw, mutant)]


def _twice(draw: Draw, mutant: Mutant) -> None:
    name, cells = mutant.columns[_column(draw, mutant)]
    mutant.columns.append((draw(st.sampled_from((name, name + ".1", "copy"))), list(cells)))


def _renamed(draw: Draw, mutant: Mutant) -> None:
    place = _column(draw, mutant)
    name = draw(
        st.sampled_from(("", " ", "Unnamed: 0", "a,b", "time", "date", "id", "window", "1", "x" * 300, "'q'", "year"))
    )
    mutant.columns[place] = (name, mutant.columns[place][1])


def _columns_shuffled(draw: Draw, mutant: Mutant) -> None:
    mutant.columns = draw(st.permutations(mutant.columns))


def _rows_shuffled(draw: Draw, mutant: Mutant) -> None:
    rows = min(len(cells) for _, cells in mutant.columns)
    order = draw(st.permutations(range(rows))) if draw(st.booleans()) else list(range(rows))[::-1]
    for _, cells in mutant.columns:
        cells[:rows] = [cells[i] for i in order]


def _rows_twice(draw: Draw, mutant: Mutant) -> None:
    rows = sorted(_some_rows(draw, mutant, 5))
    for _, cells in mutant.columns:
        cells += [cells[row] for row in rows if row < len(cells)]


def _rows_removed(draw: Draw, mutant: Mutant) -> None:
    rows = {*_some_rows(draw, mutant, 20)}
    for _, cells in mutant.columns:
        cells[:] = [cell for row, cell in enumerate(cells) if row not in rows]


def _few_rows(draw: Draw, mutant: Mutant) -> None:
    rows = draw(st.integers(0, 12))
    for _, cells in mutant.columns:
        del cells[rows:]


def _ends_early(draw: Draw, mutant: Mutant) -> None:
    cells = mutant.columns[-1][1]
    del cells[draw(st.integers(0, len(cells))) :]


def _empty_column(draw: Draw, mutant: Mutant) -> None:
    mutant.columns.insert(
        _column(draw, mutant), (draw(st.sampled_from(("", "note"))), [""] * len(mutant.columns[0][1]))
    )


def _row_numbers(draw: Draw, mutant: Mutant) -> None:
    first = draw(st.integers(0, 1))
    rows = len(mutant.columns[0][1])
    mutant.columns.insert(0, (draw(st.sampled_from(("", "id", "Unnamed: 0"))), [str(first + i) for i in range(rows)]))


def _other_form(draw: Draw, mutant: Mutant) -> None:
    time = draw(st.sampled_from(TIMES))
    for name, cells in mutant.columns:
        if name == "when":
            cells[len(cells) // 2 :] = [time(i) for i in range(len(cells) // 2, len(cells))]


def _second_time(draw: Draw, mutant: Mutant) -> None:
    time = draw(st.sampled_from(TIMES))
    mutant.columns.append(("until", [time(i + 1) for i in range(len(mutant.columns[0][1]))]))


def _clock_apart(_: Draw, mutant: Mutant) -> None:
    place = next((i for i, (name, _) in enumerate(mutant.columns) if name == "when"), None)
    if place is not None:
        rows = range(len(mutant.columns[place][1]))
        times = [START.replace(hour=0, minute=0, second=0) + dt.timedelta(hours=i) for i in rows]
        clock = ("clock", [f"{time:%H:%M}" for time in times])
        mutant.columns[place : place + 1] = [("when", [f"{time:%d/%m/%Y}" for time in times]), clock]


def _blanks(draw: Draw, mutant: Mutant) -> None:
    before, after = draw(st.sampled_from(((" ", ""), ("", " "), ("  ", "  "))))
    column = _column(draw, mutant)
    _put(mutant, column, range(len(mutant.columns[column][1])), lambda cell: before + cell + after)


def _large(draw: Draw, mutant: Mutant) -> None:
    factor = draw(st.sampled_from((10**15, 10**18, 10**30)))
    for name, cells in mutant.columns:
        if name == "count":
            cells[:] = [str(int(cell) * factor + 1) if cell.isdecimal() else cell for cell in cells]


CHANGES: dict[str, Callable[[Draw, Mutant], None]] = {
    function.__name__[1:]: function
    for function in (
        _separator, _quotes, _encoding, _newline, _mark, _odd_cell, _odd_column, _decimal_comma, _thousands, _units,
        _line_of_units, _lines_above, _without_header, _line_within, _removed, _twice, _renamed, _columns_shuffled,
        _rows_shuffled, _rows_twice, _rows_removed, _few_rows, _ends_early, _empty_column, _row_numbers, _other_form,
        _second_time, _clock_apart, _blanks, _large,
    )
}  # fmt: skip
"""What may be changed."""
