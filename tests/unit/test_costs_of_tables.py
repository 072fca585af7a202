"""What tables of series may cost: columns, cells and texts, with small limits; and cells that spreadsheets compute."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits, load_dataset
from saddlepoint.data.cells import as_meant, harmless
from saddlepoint.data.inputs import load_samples
from saddlepoint.data.series.samples import csv_text, write_samples
from saddlepoint.data.tables.feather import check_feather
from saddlepoint.export.sampler import files
from tests.unit.data_helpers import own_cache  # noqa: F401

WORDS = ("=1+2", "@now", "-x", "+y", "cat")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_TABLE", 100)


def _refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(str(path), **options)


def test_columns_of_a_csv_are_counted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(",".join(f"c{k}" for k in range(60)) + "\n" + ("1," * 59 + "2\n") * 20)
    monkeypatch.setattr(limits, "MOST_COLUMNS", 50)
    _refused(tmp_path / "a.csv", "a.csv has 60 columns, more than 50; give fewer")


def test_commas_within_a_cell_are_no_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f'{k % 7},{k % 5},"{"x, " * 80}"\n' for k in range(100))
    (tmp_path / "a.csv").write_text("a,b,c\n" + rows)
    monkeypatch.setattr(limits, "MOST_COLUMNS", 50)
    assert load_dataset(str(tmp_path / "a.csv"), window=8, columns="a,b").spec.shape == (8, 2)


def test_many_columns_of_one_name_take_no_square(tmp_path: Path) -> None:
    """At ada098a each name was looked for among all others, the square of their number."""
    (tmp_path / "a.csv").write_text(",".join(["a"] * 9000) + "\n" + ",".join(["1"] * 9000) + "\n")
    _refused(tmp_path / "a.csv", "names column 'a' 9000 times")


def test_columns_of_other_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({f"c{k}": np.arange(20.0) for k in range(60)})
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    (tmp_path / "a.json").write_text(json.dumps([{f"k{k}": k} for k in range(60)]))
    monkeypatch.setattr(limits, "MOST_COLUMNS", 50)
    for ending in ("parquet", "feather", "json"):
        _refused(tmp_path / f"a.{ending}", "60 columns, more than 50")


@pytest.mark.parametrize("ending", ["csv.gz", "parquet", "feather", "npz"])
def test_cells_that_are_packed_away_count(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, zeros = tmp_path / f"a.{ending}", pd.DataFrame({"a": np.zeros(20_000), "b": np.ones(20_000)})
    {
        "csv.gz": lambda: zeros.to_csv(path, index=False),
        "parquet": lambda: zeros.to_parquet(path),
        "feather": lambda: feather.write_feather(zeros, path, compression="zstd"),
        "npz": lambda: np.savez_compressed(path, x=np.zeros((20_000, 2))),
    }[ending]()
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(limits, "MOST_TABLE", 10_000)
    _refused(path, r"holds \d+,\d+ cells or more, and of a file of .* or set SADDLEPOINT_LIMITS", modality="sequence"
             if ending == "npz" else None)  # fmt: skip


def test_a_batch_of_feather_is_looked_at_before_it_is_unpacked(tmp_path: Path, small: None) -> None:
    values = pa.table({"a": np.random.default_rng(0).normal(size=3000), "w": ["x"] * 3000})
    for kind in ("uncompressed", "zstd", "lz4"):
        feather.write_feather(values, tmp_path / f"{kind}.feather", compression=kind)
    check_feather(tmp_path / "uncompressed.feather")
    feather.write_feather(pa.table({"a": np.zeros(100_000)}), tmp_path / "zeros.feather", compression="zstd")
    with pytest.raises(DataError, match=r"zeros.feather holds 1[0-9]{2},[0-9]{3} cells or more"):
        check_feather(tmp_path / "zeros.feather")


def test_texts_of_parquet_count_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["word " * 2000]))
    plain = pa.table({"a": np.arange(2000), "w": words.cast(pa.string())})
    pq.write_table(plain, tmp_path / "a.parquet")
    coded = plain.set_column(1, "w", words)
    pq.write_table(coded, tmp_path / "b.parquet")
    feather.write_feather(coded, tmp_path / "c.feather")
    monkeypatch.setattr(limits, "MOST_TABLE", 100_000)
    for name in ("a.parquet", "b.parquet", "c.feather"):
        _refused(tmp_path / name, r"holds 2,500,000 cells or more")


def test_texts_of_parquet_are_read_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(150) % 7, "w": ["x", "y", None] * 50, "b": np.arange(150) % 4})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    one, other = (load_dataset(str(tmp_path / f"a.{ending}"), window=8) for ending in ("parquet", "csv"))
    assert np.array_equal(one.splits["train"].x, other.splits["train"].x)


def test_a_plain_table_of_any_size_is_read(tmp_path: Path, small: None) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{t % 7},{t % 5}\n" for t in range(2000)))
    assert load_dataset(str(tmp_path / "a.csv"), window=8).spec.shape == (8, 2)


@pytest.mark.parametrize("text", ["=1+2", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "=", "-", "+a"])
def test_texts_that_spreadsheets_compute_get_an_apostrophe(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert as_meant(f"'{text}") == text
    assert files.harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1.5", "+3", "-.5e-3", "cat", "a=b", "", "'quoted'", "1-2", "3"])
def test_other_texts_and_numbers_stay(text: str) -> None:
    assert harmless(text) == text == as_meant(text) == files.harmless(text)


def test_samples_of_text_categories_are_safe_to_open_and_come_back(tmp_path: Path) -> None:
    rows = [(WORDS[k % 5], -k % 11 - 5, k % 3) for k in range(200)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("=name", "value", "b"), *rows])
    dataset = load_dataset(str(tmp_path / "a.csv"), window=10)
    assert dataset.layout is not None
    x = np.asarray(dataset.splits["train"].x[:30])
    cells = list(csv.reader(io.StringIO(csv_text(x, dataset.layout).decode())))
    place, number = cells[0].index("'=name"), cells[0].index("value")
    assert {row[place] for row in cells[1:]} == {"'=1+2", "'@now", "'-x", "'+y", "cat"}
    assert any(row[number].startswith("-") for row in cells[1:])
    for row in cells:
        for cell in row:
            float(cell) if cell[:1] in ("-", "+") else None
            assert not cell.startswith(("=", "@", "\t", "\r"))
    for ending in ("csv", "parquet"):
        path = write_samples(tmp_path / f"samples.{ending}", x, dataset.layout)
        assert np.allclose(load_samples(path, dataset)[0], x, atol=1e-6)
    kept = pq.read_table(tmp_path / "samples.parquet").column("=name").to_pylist()
    assert set(kept) == set(WORDS)  # parquet is no spreadsheet: it keeps texts as they are


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("ts", "@problemName p\n@data\n" + "1,2:" * 60 + "1,2\n"),
        ("arff", "@relation r\n" + "".join(f"@attribute a{k} numeric\n" for k in range(60)) + "@data\n1\n"),
        ("arff", "@relation r\n@attribute s relational\n@data\n'" + "1,2\\n" * 60 + "1,2'\n"),
        ("tsf", "".join(f"@attribute a{k} string\n" for k in range(60)) + "@data\nT:1,2\n"),
    ],
)
def test_channels_and_attributes_are_columns(
    ending: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"a.{ending}").write_text(text)
    monkeypatch.setattr(limits, "MOST_COLUMNS", 50)
    _refused(tmp_path / f"a.{ending}", "columns, more than 50; give fewer")


def test_a_line_of_a_table_parted_by_blanks_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint.data.tables import streams

    monkeypatch.setattr(streams, "BLOCK", 1000)
    source = io.BytesIO(b"1 2\n" * 10 + b"1 " * 5000)
    blanks = streams.Blanks(source)
    with pytest.raises(ValueError, match="a line has more than 2,000 bytes"):
        list(iter(lambda: blanks.read(1000), b""))


def test_series_of_a_file_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ts").write_text("@problemName p\n@data\n" + "1,2\n" * 60)
    monkeypatch.setattr(limits, "MOST_SERIES", 20)
    _refused(tmp_path / "a.ts", "holds more than 25 series in 261 bytes")
