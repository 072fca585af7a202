"""Labels of faces: CelebA's table of attributes and its partition, and file names that say the expression."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding

ATTRIBUTE_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")

_PARTS = {"0": "train", "1": "valid", "2": "test"}
_VALUES = {"1": 1, "-1": 0, "0": 0}


@dataclass(frozen=True)
class Table:
    """Attributes of image files, such as CelebA's.

    Attributes:
        names: of the attributes.
        rows: 1 or 0 for each attribute, by the file's name without its folders.
    """

    names: tuple[str, ...]
    rows: Mapping[str, tuple[int, ...]]


def read_attributes(where: str, data: bytes) -> Table:
    """Read CelebA's table of attributes, as its authors give it away or as comma-separated values.

    Args:
        where: path of the file, for messages.
        data: its bytes. Text: the number of rows, a line of names, then ``FILE 1 -1 ...``; names of files
            and, where tabs or two blanks part them, of attributes may hold blanks. CSV: a header that begins with the
            column of file names, then rows of 1 and -1.

    Raises:
        DataError: if it cannot be understood.
    """
    names, lines = _from_csv(where, data) if where.endswith(".csv") else _from_text(where, data)
    if not names or len(set(names)) < len(names):
        raise DataError(f"{where} names {len(names)} attributes, {len(set(names))} of them different; name each once")
    rows: dict[str, tuple[int, ...]] = {}
    for number, (file, *values) in enumerate(lines, start=1):
        if len(values) != len(names) or not set(values) <= set(_VALUES):
            raise DataError(
                f"{where}: row {number} ({file}) must hold {len(names)} values that are 1 or -1; mend or remove it"
            )
        rows[file] = tuple(_VALUES[value] for value in values)
    return Table(names, rows)


def read_partition(where: str, data: bytes) -> dict[str, str]:
    """Read CelebA's partition, ``FILE 0|1|2`` a line, as splits by file name.

    Raises:
        DataError: if it cannot be understood.
    """
    if where.endswith(".csv"):
        lines = _from_csv(where, data)[1]
    else:
        lines = [line.strip().rsplit(None, 1) for line in _text(where, data).splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if len(line) != 2 or line[1] not in _PARTS:
            raise DataError(f"{where}: row {number} ({' '.join(line)}) must be a file name and 0, 1 or 2; mend it")
    return {file: _PARTS[part] for file, part in lines}


def _text(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text ({error.reason}); fetch it again") from error


def _from_csv(where: str, data: bytes) -> tuple[tuple[str, ...], list[list[str]]]:
    try:
        found = list(csv.reader(io.StringIO(_text(where, data), newline="")))
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as CSV ({error}); fetch it again") from error
    lines = [[word.strip() for word in line] for line in found if "".join(line).strip()]
    return (tuple(lines[0][1:]), lines[1:]) if lines else ((), [])


def _from_text(where: str, data: bytes) -> tuple[tuple[str, ...], list[list[str]]]:
    lines = [line.strip() for line in _text(where, data).splitlines() if line.strip()]
    if not lines or not lines[0].isdecimal():
        raise DataError(f"{where} should begin with the number of its rows; fetch it again")
    header, rows = lines[1] if len(lines) > 1 else "", lines[2:]
    names = header.split()
    width = _values_at_end(rows[0]) if rows else len(names)
    if width != len(names) and len(parted := re.split(r"\t+|\s{2,}", header)) == width > 1:
        names = parted
    # the name of a file may hold blanks, its values do not: they are taken from the end
    return tuple(names), [row.rsplit(None, len(names)) for row in rows]


def _values_at_end(row: str) -> int:
    words = row.split()[1:]
    at_end = [word in _VALUES for word in reversed(words)]
    return at_end.index(False) if False in at_end else len(words)


def match_attributes(
    file: str, table: Table, images: Sequence[str]
) -> tuple[dict[str, tuple[int, ...] | None], list[Finding]]:
    """Return the attributes of each image, None where it has no row, and what to say; other rows are left out.

    Raises:
        DataError: if no image has a row.
    """
    found = {name: table.rows.get(PurePosixPath(name).name, table.rows.get(name)) for name in images}
    if not any(found.values()):
        raise DataError(
            f"{file} has no row for any of {len(images)} images, such as {shortened(list(images), 2)}; it names "
            f"{shortened(list(table.rows), 2)}: correct the names, or leave it out (--labels folders, --labels none)"
        )
    told = sum(row is not None for row in found.values())
    says = f"{len(table.names)} attributes were read from {file}"
    findings = [Finding("labels", says, f"it has rows of {told:,} of {len(images):,} images", "--labels none")]
    if beyond := len(table.rows) - told:
        findings.append(Finding("labels", f"{beyond:,} of {len(table.rows):,} rows of {file} name files that are not "
                                "there and are left out"))  # fmt: skip
    return found, findings


_RAFD = re.compile(r"Rafd\d+_\d+_[^_]+_[^_]+_(?P<expression>[a-z]+)_[a-z]+", re.IGNORECASE)


def name_labels(images: Sequence[str]) -> dict[str, str]:
    """Return the expressions that file names of the Radboud Faces Database say; empty if one is named otherwise.

    >>> name_labels(["Rafd090_01_Caucasian_female_angry_frontal.jpg"])
    {'Rafd090_01_Caucasian_female_angry_frontal.jpg': 'angry'}
    """
    found = {name: _RAFD.fullmatch(PurePosixPath(name).stem) for name in images}
    if not all(found.values()):
        return {}
    return {name: match["expression"].lower() for name, match in found.items() if match}
