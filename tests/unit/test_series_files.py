"""Files of series: how texts are laid out, marks of numbers, packed files, records; checked against pandas."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables import streams
from saddlepoint.data.tables.table import Table, is_table, read_table

DAYS = [f"{day:%Y-%m-%d}" for day in pd.date_range("2020-01-01", periods=40)]
A = [i * i % 97 / 10 for i in range(40)]
B = [i * 7 % 31 for i in range(40)]
PLAIN = "day,a,b\n" + "".join(f"{d},{a},{b}\n" for d, a, b in zip(DAYS, A, B, strict=True))


def checked(path: Path, text: str, **options: object) -> Table:
    """Write a file that holds the usual table in another layout, read it, and check its values."""
    path.write_text(text)
    table = read_table(path, Options.of(**options))
    assert table.stamps is not None
    assert np.array_equal(table.times, pd.to_datetime(DAYS).as_unit("ns").asi8)
    values = list(table.values.values())
    assert [column.tolist() for column in values] == [A, B]
    return table


def said(table: Table) -> str:
    """Return all findings as one text."""
    return " | ".join(finding.sentence() for finding in table.findings)


LAYOUTS = {
    "semicolons": (PLAIN.replace(",", ";"), ""),
    "tabs": (PLAIN.replace(",", "\t"), ""),
    "bars": (PLAIN.replace(",", "|"), ""),
    "blanks": (PLAIN.replace(",", "   "), ""),
    "blanks before": ("".join(f"  {line}\n" for line in PLAIN.replace(",", "  ").splitlines()), ""),
    "blanks after commas": (PLAIN.replace(",", ", "), ""),
    "byte order mark": ("\ufeff" + PLAIN, ""),
    "Windows": (PLAIN.replace("\n", "\r\n"), ""),
    "sep": ("sep=;\n" + PLAIN.replace(",", ";"), ""),
    "comments": ("# from the harbour, 2020\n# by hand\n" + PLAIN, "2 lines of comments"),
    "names in a comment": ("# " + PLAIN, "the names of the columns stand in the comment"),
    "titles": ("Harbour\nmeasured by hand\n\n" + PLAIN, "2 lines above the names"),
    "one title": ("Harbour\n" + PLAIN, "1 line above the names"),
    "units": (PLAIN.replace("\n", "\n,degC,m/s\n", 1), "line 2 holds units (degC, m/s)"),
    "units in brackets": (PLAIN.replace("\n", "\n[-],[°C],[m/s]\n", 1), "line 2 holds units"),
    "quotes": ("".join(",".join(f'"{c}"' for c in line.split(",")) + "\n" for line in PLAIN.splitlines()), ""),
    "decimal commas": (PLAIN.replace(",", ";").replace(".", ","), ""),
    "blank lines": (PLAIN.replace("\n", "\n\n"), ""),
    "trailing commas": (PLAIN.replace("\n", ",\n"), "for they hold no value"),
    "trailing commas of rows": (PLAIN.replace("\n", ",\n").replace(",\n", "\n", 1), "for they hold no value"),
    "row names of R": (
        "day,a,b\n" + "".join(f"{i + 1},{line}\n" for i, line in enumerate(PLAIN.splitlines()[1:])),
        "the first column has no name",
    ),
    "row names of pandas": (
        ",day,a,b\n" + "".join(f"{i},{line}\n" for i, line in enumerate(PLAIN.splitlines()[1:])),
        "counts the rows (in order)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_told_from_the_first_lines(tmp_path: Path, name: str) -> None:
    text, words = LAYOUTS[name]
    table = checked(tmp_path / "x.csv", text)
    assert words in said(table)
    assert list(table.values) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b c\n", "names columns but holds no rows"),
        ("a,b,c\n", "names columns but holds no rows"),
        # A comma is decimal only where each line below has exactly one.
        ("v\n1,5\n2,5\n1,2,3\n", "line 4 has 3 values, but the first line names 2 columns"),
        ("v\n1,5\n2\n3,5\n4,5\n5\n", "line 3 has 1 values, but the first line names 2 columns"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "x.txt", Options())


def test_one_column_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("v\n" + "".join(f"{value},5\n" for value in range(40)))
    assert read_table(tmp_path / "x.txt", Options()).values["v"].tolist() == [value + 0.5 for value in range(40)]


def test_a_stream_of_blanks_is_read_a_block_at_a_time() -> None:
    asked: list[int] = []

    class Source(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    line = b'1 \t 2   "a  b"\n'
    whole = line * (3 * streams.BLOCK // len(line))
    stream, found = streams.Blanks(Source(whole)), b""
    while part := stream.read():
        found += part
    assert found == whole.replace(line, b'1\t2\t"a  b"\n')
    assert set(asked) == {streams.BLOCK}
    asked.clear()
    assert streams.Blanks(Source(whole)).read(100) == 100 // len(line) * b'1\t2\t"a  b"\n'
    assert asked == [100]


def test_the_look_of_a_file_is_kept_for_samples(tmp_path: Path) -> None:
    look = checked(tmp_path / "x.csv", PLAIN.replace(",", ";").replace(".", ",")).look
    assert (look.delimiter, look.decimal, look.quoted, look.quoted_header) == (";", ",", False, False)
    quoted = "".join(",".join(f'"{c}"' for c in line.split(",")) + "\n" for line in PLAIN.splitlines())
    look = checked(tmp_path / "x.csv", quoted).look
    assert (look.delimiter, look.decimal, look.quoted, look.quoted_header) == (",", ".", True, True)


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "dat", "csv.gz", "txt.bz2", "csv.xz", "zip", "csv.zip"])
def test_packed_files_and_other_endings(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    content = PLAIN.encode()
    if ending.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.csv", content)
            archive.writestr("__MACOSX/._inner.csv", b"junk")
    else:
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(ending.split(".")[-1], bytes)
        path.write_bytes(pack(content))
    assert is_table(path)
    table = read_table(path, Options())
    assert table.values["a"].tolist() == A
    assert table.values["b"].tolist() == B
    damaged = path.read_bytes()
    path.write_bytes(damaged[: len(damaged) // 2])
    if ending not in ("csv", "tsv", "txt", "dat"):
        with pytest.raises(DataError, match="cannot be read"):
            read_table(path, Options())


def test_records_of_json_and_feather(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(PLAIN))
    (tmp_path / "x.json").write_text(frame.to_json(orient="records"))
    (tmp_path / "x.jsonl").write_text(frame.to_json(orient="records", lines=True))
    frame.to_feather(tmp_path / "x.feather")
    for name in ("x.json", "x.jsonl", "x.feather"):
        assert is_table(tmp_path / name)
        table = read_table(tmp_path / name, Options())
        assert table.values["a"].tolist() == A
        assert np.array_equal(table.times, pd.to_datetime(DAYS).as_unit("ns").asi8)
    for wrong in ({"a": [1, 2]}, [1, 2, 3], "text", []):
        (tmp_path / "y.json").write_text(json.dumps(wrong))
        assert not is_table(tmp_path / "y.json")
        with pytest.raises(DataError, match="list of records"):
            read_table(tmp_path / "y.json", Options())


NUMBERS = {
    "1.257,30": (["1.257,30", "125,73", "-12,5", "1.000.000,00"], [1257.3, 125.73, -12.5, 1e6]),
    "1,257.30": (["1,257.30", "125.73", "-12.5", "1,000,000.00"], [1257.3, 125.73, -12.5, 1e6]),
    "thin blanks": (["1\u202f257,30", "125,73", "-12,5", "1\u202f000\u202f000,00"], [1257.3, 125.73, -12.5, 1e6]),
    "apostrophes": (["1'257.30", "125.73", "-12.5", "1'000'000.00"], [1257.3, 125.73, -12.5, 1e6]),
    "two marks": (["1,257,300", "125", "12,345", "0"], [1257300, 125, 12345, 0]),
    "points": (["1.257.300", "125", "12.345", "0"], [1257300, 125, 12345, 0]),
    "leading zeros": (["0,257", "1,125", "12,345", "0,1"], [0.257, 1.125, 12.345, 0.1]),
    "exponents": (["1e3", "2.5E-2", "-1e0", "7"], [1000, 0.025, -1, 7]),
    "plus": (["+1.5", "-2.25", "+3", "0"], [1.5, -2.25, 3, 0]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_marks_of_numbers(tmp_path: Path, name: str) -> None:
    cells, expected = NUMBERS[name]
    rows = [f"{day};{cell}" for day, cell in zip(DAYS, cells * 10, strict=True)]
    (tmp_path / "x.csv").write_text("day;v\n" + "\n".join(rows) + "\n")
    assert read_table(tmp_path / "x.csv", Options()).values["v"].tolist() == expected * 10


def test_a_mark_that_may_be_either_is_asked_about_over_the_whole_table(tmp_path: Path) -> None:
    cells = ["1,257", "125", "12,345", "7"]
    rows = [f"{day};{cell};{i % 7}" for i, (day, cell) in enumerate(zip(DAYS, cells * 10, strict=True))]
    (tmp_path / "x.csv").write_text("day;v;w\n" + "\n".join(rows) + "\n")
    with pytest.raises(OpenQuestion, match="a decimal mark, or one of thousands") as error:
        read_table(tmp_path / "x.csv", Options())
    found = [
        read_table(tmp_path / "x.csv", Options.of(**dict(r.options))).values["v"][:3] for r in error.value.readings
    ]
    assert [values.tolist() for values in found] == [[1257, 125, 12345], [1.257, 125, 12.345]]
    for other, value in (("0,5", 1.257), ("1.5", 1257)):  # what another column shows decides
        rows = [f"{day};{cell};{other}" for day, cell in zip(DAYS, cells * 10, strict=True)]
        (tmp_path / "y.csv").write_text("day;v;w\n" + "\n".join(rows) + "\n")
        assert read_table(tmp_path / "y.csv", Options()).values["v"][0] == value


def test_marks_of_missing_values_are_those_of_pandas(tmp_path: Path) -> None:
    marks = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "#N/A", "<NA>"]
    cells = [marks[i // 3 % len(marks)] if i % 3 == 0 else str(i * i % 97) for i in range(40)]
    text = "day,v\n" + "".join(f"{d},{c}\n" for d, c in zip(DAYS, cells, strict=True))
    (tmp_path / "x.csv").write_text(text)
    expected = pd.read_csv(io.StringIO(text))["v"].to_numpy()
    assert np.array_equal(read_table(tmp_path / "x.csv", Options()).values["v"], expected, equal_nan=True)


def test_what_the_head_of_a_file_promises_is_checked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers become fractions, numbers texts with marks, far behind what is looked at first."""
    monkeypatch.setattr("saddlepoint.data.tables.text._PEEK", 300)
    monkeypatch.setattr("saddlepoint.data.tables.text.BLOCK", 400)
    count = [str(i * 7 % 31) for i in range(400)]
    count[300] = "2.5"
    marked = [str(i * i % 97) for i in range(400)]
    marked[350] = "?"
    grouped = [str(i * i % 89) for i in range(400)]
    grouped[320] = "1 234"
    rows = [f"{a};{b};{c};{i % 3}" for i, (a, b, c) in enumerate(zip(count, marked, grouped, strict=True))]
    (tmp_path / "x.csv").write_text("a;b;c;d\n" + "\n".join(rows) + "\n")
    table = read_table(tmp_path / "x.csv", Options())
    assert table.values["a"][300] == 2.5
    assert np.isnan(table.values["b"]).nonzero()[0].tolist() == [350]
    assert table.values["c"][320] == 1234
    assert "'?' (1)" in said(table)
    assert "' ' stands between thousands in 'c'" in said(table)
    dates = [f"{day:%d/%m/%Y}" for day in pd.date_range("2000-01-01", periods=400)]
    (tmp_path / "y.csv").write_text("t;v\n" + "\n".join(f"{d};{v}" for d, v in zip(dates, count, strict=True)) + "\n")
    table = read_table(tmp_path / "y.csv", Options())
    assert np.array_equal(table.times, pd.date_range("2000-01-01", periods=400).as_unit("ns").asi8)


HEADERS = {
    "numbers": "1,2.5,7\n2,3.5,9\n3,4.5,1\n",
    "a date": "2016-03-01,100.00,0\n2016-03-02,100.5,3\n2016-03-03,99.5,1\n",
    "a category": "AAPL,5,39\nAAPL,7,36\nMSFT,2,43\n",
    "a name of a series": "AAPL,2000,39.81\nAAPL,2001,36.35\nMSFT,2000,43.22\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_first_line_of_values_is_asked_about_and_either_answer_works(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.csv").write_text(HEADERS[name])
    with pytest.raises(OpenQuestion, match=r"line 1 holds .*does it name the columns\?") as error:
        read_table(tmp_path / "x.csv", Options())
    values, names = [dict(reading.options) for reading in error.value.readings]
    assert (values, names) == ({"header": False}, {"header": True})
    first = HEADERS[name].splitlines()[0].split(",")
    unnamed = read_table(
        tmp_path / "x.csv", Options.of(**values, columns="column3", time_column="none", group_column="none")
    )
    assert unnamed.values["column3"].tolist() == [float(row.split(",")[2]) for row in HEADERS[name].splitlines()]
    named = read_table(
        tmp_path / "x.csv", Options.of(**names, columns=first[2], time_column="none", group_column="none")
    )
    assert len(named.values[first[2]]) == 2


def test_names_that_are_numbers_count_up_in_frames_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 4)).round(3))
    frame.to_csv(tmp_path / "x.csv")
    table = read_table(tmp_path / "x.csv", Options())
    assert list(table.values) == ["0", "1", "2", "3"]
    assert np.array_equal(np.stack(list(table.values.values()), 1), frame.to_numpy())
    frame.to_csv(tmp_path / "x.csv", index=False)
    table = read_table(tmp_path / "x.csv", Options())
    assert len(table.values["0"]) == 50
    assert any("its numbers count up; else --no-header" in finding.sentence() for finding in table.findings)


def test_cells_with_line_ends_and_quotes_are_read_as_pandas_reads_them(tmp_path: Path) -> None:
    text = PLAIN.replace("day,a,b", "day,a,b,note")
    lines = text.splitlines()
    lines = [lines[0], *(f'{line},"so; ""{i % 2}"",\nsaid"' for i, line in enumerate(lines[1:]))]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    table = read_table(tmp_path / "x.csv", Options())
    assert table.values["a"].tolist() == A
    expected = pd.read_csv(tmp_path / "x.csv")["note"].tolist()
    assert [table.categories["note"][code] for code in table.values["note"]] == expected


def test_two_marks_of_decimals_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a;b\n" + "".join(f"{i},5;{i}.25\n" for i in range(40)))
    with pytest.raises(
        DataError, match=r"column 'a' holds '0,5' and column 'b' holds '0\.25', numbers of two conventions"
    ):
        read_table(tmp_path / "x.csv", Options())


def test_points_that_may_stand_between_thousands_beside_semicolons_are_said(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    cells = [1015 + 977 * place % 8000 for place in range(120)]
    path.write_text("a;b\n" + "".join(f"{c // 1000}.{c % 1000:03d};{c // 1000}.{c % 1000:03d}\n" for c in cells))
    table = read_table(path, Options())
    (finding,) = [f for f in table.findings if "not one of thousands" in f.says]
    assert not finding.sure
    assert table.values["a"].tolist() == [cell / 1000 for cell in cells]
    option, mark = finding.option.split()
    assert option == "--decimal"
    asked = read_table(path, Options.of(decimal=mark))
    assert asked.values["a"].tolist() == cells
    assert not any("not one of thousands" in f.says for f in asked.findings)
