"""Labels of faces: CelebA's table of attributes and its partition, and file names that say the expression."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from saddlepoint._errors import DataError
from saddlepoint.data.labels.files import few

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
        data: its bytes. Text: the number of rows, a line of names, then ``FILE 1 -1 ...``. CSV: a header that begins
            with the column of file names, then rows of 1 and -1.

    Raises:
        DataError: if it cannot be understood.
    """
    lines = _lines(where, data)
    if not where.endswith(".csv"):
        if not lines or len(lines[0]) != 1 or not lines[0][0].isdecimal():
            raise DataError(f"{where} should begin with the number of its rows; fetch it again")
        lines = lines[1:]
    names = tuple(lines[0][1:] if where.endswith(".csv") else lines[0]) if lines else ()
    if not names or len(set(names)) < len(names):
        raise DataError(f"{where} names {len(names)} attributes, {len(set(names))} of them different; name each once")
    rows: dict[str, tuple[int, ...]] = {}
    for number, (file, *values) in enumerate(lines[1:], start=1):
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
    lines = _lines(where, data)
    lines = lines[1:] if where.endswith(".csv") else lines
    for number, line in enumerate(lines, start=1):
        if len(line) != 2 or line[1] not in _PARTS:
            raise DataError(f"{where}: row {number} ({' '.join(line)}) must be a file name and 0, 1 or 2; mend it")
    return {file: _PARTS[part] for file, part in lines}


def _lines(where: str, data: bytes) -> list[list[str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text ({error.reason}); fetch it again") from error
    split = (line.split(",") if where.endswith(".csv") else line.split() for line in text.splitlines())
    return [[word.strip() for word in line] for line in split if "".join(line).strip()]


def match_attributes(where: str, table: Table, images: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the attributes of each image; rows of images that are not there are left out.

    Raises:
        DataError: if an image has no row.
    """
    bare = [name for name in images if PurePosixPath(name).name not in table.rows]
    if bare:
        raise DataError(
            f"{where} has no row for {len(bare)} of {len(images)} images ({few(bare)}); add them, or remove these "
            "images"
        )
    return {name: table.rows[PurePosixPath(name).name] for name in images}


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
