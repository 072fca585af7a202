"""Label cells: whole numbers, words, several of them, vectors; what each becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.labels.files import Label, number_or_word
from saddlepoint.data.plan import Finding

MOST_ATTRIBUTES = 1000
"""Labels that a picture may have at once; more is a vocabulary, not a set of labels."""

_EMPTY = ("nan", "NaN")
_MARKS = frozenset(("NA", "N/A", "null", "NULL", "None", "<NA>", "#N/A", "n/a"))
"""Words that pandas takes for missing, and that may be names of classes."""

Labels = tuple[dict[str, Label], tuple[str, ...], list[Finding]]
"""Labels by name of file; names of the classes where each label is a number for each of them; findings."""


def read_cells(
    where: str, cells: Mapping[str, Any], *, typed: bool = False, vectors: bool = False, names: Sequence[str] = ()
) -> Labels:
    """Turn the label cells of a table into labels.

    Args:
        where: the table, for messages.
        cells: value by name of file, as CSV or JSON holds it.
        typed: texts are words for certain, as in JSON; else they may be numbers, as in CSV.
        vectors: lists are vectors for certain, as in StyleGAN's dataset.json; else they may be lists of classes.
        names: of the entries of vectors, where known.

    Returns:
        Labels; a file whose cell is empty has None. Class names where labels are numbers for each class.

    Raises:
        DataError: on a cell that is no label, or a real-valued one, with what can be done.
    """
    found = {name: _cell(where, name, cell, typed) for name, cell in cells.items()}
    if any(isinstance(cell, str) for cell in found.values()):
        # Beside words numbers are words too, as pandas has it: 01 and 1 are two classes.
        texts = {name: cell.strip() for name, cell in cells.items() if isinstance(cell, str)}
        found = {name: texts.get(name, cell) if isinstance(cell, int | float) else cell for name, cell in found.items()}
    held = [cell for cell in found.values() if cell is not None]
    if any(isinstance(cell, list) for cell in held):
        return _from_lists(where, found, vectors, names)
    real = [cell for cell in held if isinstance(cell, float)]
    if any(not cell.is_integer() for cell in real):
        first = next(cell for cell in real if not cell.is_integer())
        raise DataError(
            f"{where} holds real numbers such as {first:g} as labels; classes are whole numbers or words: give each "
            "range of values a name of its own, or train without labels (--labels none)"
        )
    labels: dict[str, Label] = {
        name: int(cell) if isinstance(cell, float) else cell
        for name, cell in found.items()
        if not isinstance(cell, list)
    }
    return labels, (), _said(where, labels)


def one_or_several(
    where: str, table: Mapping[str, tuple[int, ...] | None], names: Sequence[str]
) -> tuple[dict[str, Label], tuple[str, ...], list[Finding]]:
    """Return vectors of 0 and 1 as class indices where each has exactly one 1, else as they are: several labels.

    Class names come back in either case, so that an index means its entry.
    """
    rows = [row for row in table.values() if row is not None]
    file, width = PurePosixPath(where).name, len(rows[0])
    named = tuple(names) or tuple(map(str, range(width)))
    if width > 1 and all(sum(row) == 1 for row in rows):
        single: dict[str, Label] = {name: None if row is None else named[row.index(1)] for name, row in table.items()}
        return (single, (), [Finding("labels", f"each vector of {file} names one of {width} classes (one-hot)")])
    if width > MOST_ATTRIBUTES:
        raise DataError(
            f"{where} gives a picture up to {width:,} labels; up to {MOST_ATTRIBUTES:,} can be told to a generator: "
            "keep those that matter"
        )
    return (dict(table), named, [Finding("labels", f"each image has several labels in {file}: {shortened(named)}")])


def _cell(where: str, name: str, cell: Any, typed: bool) -> int | float | str | list[Any] | None:
    """Return a cell as a number, a word or a list; None where it is empty."""
    if cell is None or cell != cell or (isinstance(cell, str) and cell.strip() in ("", *(() if typed else _EMPTY))):
        return None
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, str):
        return cell.strip() if typed else _number_in(cell.strip())
    if isinstance(cell, int):
        return cell if abs(cell) < 10**17 else str(cell)
    if isinstance(cell, float):
        return cell if abs(cell) < 10**15 else str(cell)
    if isinstance(cell, list | tuple):
        inner = [_cell(where, name, part, typed) for part in cell]
        if not any(part is None or isinstance(part, list) for part in inner):
            return inner
    raise DataError(
        f"{where} gives {name} the label {repr(cell)[:60]}; a label is a whole number, a word, or a list of them"
    )


def _number_in(text: str) -> int | float | str:
    """Return the number that a text is, as pandas reads it; words stay.

    >>> _number_in("007"), _number_in("2.0"), _number_in("cat")
    (7, 2.0, 'cat')
    """
    if re.fullmatch(r"[+-]?\d{1,17}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d{1,15}\.\d*|\.\d+)([eE][+-]?\d{1,2})?", text, re.ASCII) else text


def _from_lists(
    where: str, cells: Mapping[str, int | float | str | list[Any] | None], vectors: bool, names: Sequence[str]
) -> Labels:
    """Read lists: as vectors, or as several classes of a picture."""
    lists = {name: cell if isinstance(cell, list) or cell is None else [cell] for name, cell in cells.items()}
    held = [cell for cell in lists.values() if cell is not None]
    flat = [part for cell in held for part in cell]
    numbers = all(isinstance(part, int | float) for part in flat)
    alike = len({len(cell) for cell in held}) == 1 and len(held[0]) > 0
    marks = alike and numbers and set(flat) <= {0, 1}
    if vectors and not marks:
        raise _no_vectors(where, held, numbers, alike)
    if vectors or (marks and len(held[0]) > 1):
        rows = {name: None if cell is None else tuple(int(x) for x in cell) for name, cell in lists.items()}
        return one_or_several(where, rows, names)
    if any(isinstance(part, float) and not part.is_integer() for part in flat):
        raise _no_vectors(where, held, numbers, alike)
    sets = {name: None if cell is None else {_word(part) for part in cell} for name, cell in lists.items()}
    vocabulary = sorted({part for cell in sets.values() if cell is not None for part in cell}, key=number_or_word)
    if not vocabulary:
        return dict.fromkeys(lists), (), []
    if all(cell is None or len(cell) == 1 for cell in sets.values()):
        single: dict[str, Label] = {name: None if cell is None else next(iter(cell)) for name, cell in sets.items()}
        return single, (), []
    table = {
        name: None if cell is None else tuple(int(part in cell) for part in vocabulary) for name, cell in sets.items()
    }  # fmt: skip
    return one_or_several(where, table, tuple(map(str, vocabulary)))


def _word(part: Any) -> int | str:
    return int(part) if isinstance(part, float) else part


def _no_vectors(where: str, held: Sequence[list[Any]], numbers: bool, alike: bool) -> DataError:
    what = "real values" if numbers and alike else "different lengths" if numbers else "words"
    return DataError(
        f"{where} gives vectors of {what}, such as {str(held[0])[:60]}; vectors of 0 and 1 (one class, or several "
        "labels) can be used: give each range of values a class of its own, or train without labels (--labels none)"
    )


def _said(where: str, labels: Mapping[str, Label]) -> list[Finding]:
    """Say what another reader would see differently, or the user may not have meant."""
    file, words = PurePosixPath(where).name, {label for label in labels.values() if isinstance(label, str)}
    findings = []
    if marks := sorted(words & _MARKS):
        findings.append(
            Finding("labels", f"'{shortened(marks)}' is a class in {file}", "pandas would take it for missing")
        )
    if joined := sum("|" in word for word in words):
        findings.append(
            Finding(
                "labels", f"{joined:,} labels of {file} hold '|': each combination is a class of its own",
                "for several labels a picture give lists, in metadata.jsonl", sure=False,
            )
        )  # fmt: skip
    return findings
