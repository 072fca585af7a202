"""Tables and label files with changes of every kind: refused in words, or read as pandas reads them, or it is said."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data import load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.load import find_path
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables.table import Table, read_table
from tests.e2e.mutant_labels import NAMES, label_files
from tests.e2e.mutants import Mutant, mutants
from tests.unit.data_helpers import own_cache, pictures, write_folder  # noqa: F401

WINDOW = 4

TABLES, LABELS = 8000, 2000
"""Mutants of the slow tests, ten thousand in all ..."""
BATCHES = 8
"""... in so many parts."""


def each(examples: int, start: int) -> Callable[[Any], Any]:
    """Return the settings of a test that draws so many mutants, the same ones each time."""

    def decorate(test: Any) -> Any:
        plain = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        return seed(start)(plain(test))

    return decorate


@pytest.mark.parametrize("part", [0])
def test_mutated_tables(part: int, tmp_path: Path) -> None:
    _tables(150, part, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 1 + BATCHES))
def test_thousands_of_mutated_tables(part: int, tmp_path: Path) -> None:
    _tables(TABLES // BATCHES, part, tmp_path)


@pytest.mark.parametrize("part", [0])
def test_mutated_label_files(part: int, tmp_path: Path) -> None:
    _labels(50, part, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 1 + BATCHES))
def test_thousands_of_mutated_label_files(part: int, tmp_path: Path) -> None:
    _labels(LABELS // BATCHES, part, tmp_path)


def _tables(examples: int, part: int, folder: Path) -> None:
    outcomes: Counter[str] = Counter()

    @each(examples, part)
    @given(mutants())
    def one(mutant: Mutant) -> None:
        outcomes[outcome_of(mutant, folder / "x.csv")] += 1

    one()
    # a test that refuses everything, or nothing, tests nothing
    assert min(outcomes["read"], outcomes["refused"]) > examples / 20, outcomes


def outcome_of(mutant: Mutant, path: Path) -> str:
    """Return whether a mutant is ``read`` or ``refused``; fails if it is read otherwise than pandas does in silence."""
    path.write_bytes(mutant.content())
    shutil.rmtree(cache_dir() / "datasets", ignore_errors=True)
    try:
        dataset = load_dataset(str(path), window=WINDOW)
        table = read_table(path, Options.of(window=WINDOW))
    except DataError as error:
        return _refused(error)
    assert dataset.layout is not None
    assert {*table.values} >= {column.name for column in dataset.layout.columns}
    frame = mutant.frame()
    if frame is not None and (unsaid := list(unsaid_differences(table, frame))):
        # a line of separators alone is an empty line
        assert not list(unsaid_differences(table, frame.dropna(how="all"))), unsaid
    return "read"


def _refused(error: DataError) -> str:
    assert str(error).strip(), "refused without a word"
    return "refused"


def unsaid_differences(table: Table, frame: pd.DataFrame) -> Iterator[str]:
    """Yield how a reading differs from that of pandas where no finding speaks of it."""
    # what an option names is no statement
    said = [f"{finding.says} {finding.why}".strip() for finding in table.findings]
    frame = frame.rename(columns=lambda name: "" if str(name).startswith("Unnamed: ") else str(name))
    rows = len(next(iter(table.values.values())))
    whole = any("left out" in sentence and re.search(r"\b(rows?|lines?)\b", sentence) for sentence in said)
    if rows != len(frame) and not whole:
        yield f"{len(frame)} rows are there, {rows} were read"
    for place, name in enumerate(frame):
        cells = frame.iloc[:, place]
        # A message cuts names above 60 letters, and shows what is hidden in one.
        called = (str(name), shortened([str(name)])) if name else ("name",)
        mentioned = any(way in sentence for sentence in said for way in called)
        if mentioned or name not in table.values or list(frame).count(name) > 1:
            if not mentioned and name not in table.values and name not in (table.group, table.label):
                yield f"'{name}' is not there"
            continue
        if not _same(_cells_of(table, str(name)), cells) and not (whole and rows != len(frame)):
            yield f"'{name}' differs: {_cells_of(table, str(name))[:5].tolist()} for {cells[:5].tolist()}"


def _cells_of(table: Table, name: str) -> np.ndarray:
    values = table.values[name]
    if name not in table.categories:
        return values
    return np.array([*(str(word) for word in table.categories[name]), ""], dtype=object)[values]


def _same(read: np.ndarray, cells: pd.Series) -> bool:
    """Whether the same values are there, in whatever order the rows are now."""
    if read.dtype == object:
        return sorted(read) == sorted("" if pd.isna(cell) else str(cell) for cell in cells)
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    if len(read) != len(numbers):
        return False
    return np.allclose(np.sort(read), np.sort(numbers), rtol=1e-12, atol=0, equal_nan=True)


def _labels(examples: int, part: int, folder: Path) -> None:
    outcomes: Counter[str] = Counter()
    images = pictures(len(NAMES), 8)

    @each(examples, part)
    @given(label_files())
    def one(drawn: tuple[str, bytes]) -> None:
        shutil.rmtree(folder / "d", ignore_errors=True)
        write_folder(folder / "d", images)
        outcomes[outcome_of_labels(drawn, folder / "d")] += 1

    one()
    assert min(outcomes["read"], outcomes["refused"] + outcomes["asked"]) > examples / 20, outcomes


def outcome_of_labels(drawn: tuple[str, bytes], folder: Path, **answers: str) -> str:
    """Return whether a folder with a label file is ``read``, ``asked`` about or ``refused``.

    Fails if pictures are lost in silence, or a picture has another label than the file says.
    """
    name, content = drawn
    (folder / name).write_bytes(content)
    shutil.rmtree(cache_dir() / "datasets", ignore_errors=True)
    try:
        dataset = load_dataset(str(folder), **answers)  # type: ignore[arg-type]
    except OpenQuestion as question:
        for reading in question.readings:
            assert not {*reading.options.items()} <= {*answers.items()}, "an answer asks again"
            outcome_of_labels(drawn, folder, **answers, **reading.options)
        return "asked"
    except DataError as error:
        return _refused(error)
    said = " ".join(dataset.notes)
    rows = sum(len(split) for split in dataset.splits.values())
    assert rows == len(NAMES) or answers or "left out" in said, said
    if not dataset.classes:
        assert name in said or "label" in said, said
    elif not dataset.labelling and not answers:
        truth = truth_of(name, content)
        for item in find_path(str(folder)).items():
            file = Path(item.origin).name
            # pandas takes None for a missing value; of labels it is a word
            if item.label not in (None, "None") and file in truth:
                assert _plain(item.label) in truth[file], (file, item.label, truth[file])
    return "read"


def truth_of(name: str, content: bytes) -> dict[str, set[str]]:
    """Return all labels that a file gives each picture, as pandas or `json` read it; nothing if they do not."""
    pairs: list[tuple[Any, Any]] = []
    try:
        if name.endswith(".json"):
            labels = json.loads(content)["labels"]
            pairs = list(labels.items() if isinstance(labels, dict) else labels)
        elif name.endswith(".jsonl"):
            rows = [json.loads(line) for line in content.splitlines()]
            pairs = [(row["file_name"], row["label"]) for row in rows]
        else:
            frame = _frame(content)
            by = [key for key in frame if key in ("file", "id", "file_name", "image")]
            label = [key for key in frame if key in ("label", "class")]
            pairs = list(zip(frame[by[0]], frame[label[0]], strict=True))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {}
    truth: dict[str, set[str]] = {}
    for file, each_label in pairs:
        key = Path(str(file)).name
        truth.setdefault(key if key.endswith(".png") else f"{key}.png", set()).add(_plain(each_label))
    return truth


def _frame(content: bytes) -> pd.DataFrame:
    first = content.splitlines()[0] if content else b""
    separator = ";" if b";" in first else "\t" if b"\t" in first else ","
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return pd.read_csv(io.BytesIO(content), sep=separator, encoding=encoding)


def _plain(label: Any) -> str:
    """Return a label as text: of a vector of zeros and a one the place of the one."""
    if isinstance(label, list) and sorted(label, key=str) == [0, 1]:
        return str(label.index(1))
    text = str(label).strip()
    return text.removesuffix(".0")
