"""What a file of strangers may cost: one budget of pixels, bytes, columns and cells, checked before decoding.

An input of at most 10 MB costs at most about 1 GB of memory and 10 s of one core in any reader (benchmarks/costs.py).
Larger files may cost more, in proportion to their bytes: where a limit has a rate, the larger of the two counts.
``SADDLEPOINT_LIMITS=off`` lifts those that an honest file may reach; those that guard memory against a single
picture, page or header stay.
"""

from __future__ import annotations

import os

from saddlepoint.core.errors import DataError

PICTURE_KINDS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
"""Kinds of picture files that are opened: decoded within this process, never handed to another program (as EPS is).
TGA, which has no mark at its start, is tried last."""

MOST_PIXELS = 50 * 10**6
"""Pixels of one picture, page or frame; beyond, as many as its file has bytes: little packing is a proof of honesty."""
MOST_DEEP_PIXELS = 16 * 10**6
"""The same for pictures of more than 8 bits, whose values take several copies in wider types."""
MOST_WEBP_PIXELS = 30 * 10**6
"""The same for WebP, whose decoder holds a picture three times in four bytes a pixel."""
OWN_PIXELS = 2**27
"""Pixels of a grid of samples that saddlepoint wrote itself ..."""
OWN_BYTES = 2**28
"""... and bytes of its file."""
SERVED_PIXELS = 16 * 10**6
"""Pixels of a picture that a server or the studio is given."""
DRAFT_PIXELS = 16 * 10**6
"""Pixels from which a JPEG is decoded at a half, a quarter or an eighth, if that is still twice the size needed."""

MOST_WORK, WORK_PER_BYTE = 160 * 10**6, 16
"""What decoding the rows of a data set takes, in pixels of an RGB PNG (`images.opening.work_of`): so many, and so many
for each byte of its files as they lie on the disk. Photographs have 1 to 10 pixels a byte, drawings up to 50."""
WORK_OF_FILE = 3_200_000
"""As much again for each picture that is a file of its own, for a folder shows how many there are: an icon of 1024x1024
with transparency, which may be packed into a few thousand bytes."""
FILES_OF_ARCHIVE = 2000
"""Pictures of an archive for which that holds too: a minute of decoding at most beside what its bytes allow."""
WORK_OF_PICTURE, WORK_OF_IMAGE, WORK_OF_ROW = 4000, 1000, 200
"""Of opening a file of a picture, an image of an array, and a vector, beside its pixels."""
MOST_SPREAD = 4
"""Bytes of arrays for each byte on the disk up to which they are not counted: they are hardly packed."""

MOST_SCANS = 64
"""Scans of a JPEG: each goes over all of its pixels. Progressive ones have about 10."""
MOST_SCANNED = 600 * 10**6
"""Pixels of a JPEG times its scans."""
MOST_PAGES = 100_000
"""Pages or frames of one file."""
MOST_STRIPS = 100_000
"""Strips or tiles of a page of a TIFF, of which there is at most one for each row: Pillow takes 4 microseconds each."""
MOST_TAGS = 1_000_000
"""Entries in all directories of a TIFF."""

MOST_TEXT, MOST_TEXTS = 64 * 1024**2, 256 * 1024**2
"""Bytes of one file of labels or attributes, and of all of a data set."""
MOST_MEMBER = 512 * 1024**2
"""Bytes of one picture in an archive."""
MAX_RATIO, RATIO_FROM = 200, 16 * 1024**2
"""Bytes unpacked for each byte packed, of members from so many bytes."""
MOST_UNPACKED, UNPACKED_PER_BYTE = 512 * 1024**2, 50
"""Bytes that all of an archive unpacks to: so many, and so many for each byte of the archive."""

MOST_COLUMNS = 10_000
"""Columns of a table."""
MOST_TABLE, TABLE_PER_BYTE = 8 * 10**6, 1
"""Cells of a table of series, each of which takes about 50 bytes and a third of a microsecond; and for each byte of its
file. A plain CSV has two bytes or more for each cell."""


LIFT = "or set SADDLEPOINT_LIMITS=off if you trust it"


MOST_SERIES, _BYTES_A_SERIES = 100_000, 50
"""Series of a file that has one in each line, which take some 30 microseconds each; and one for each so many bytes."""
MOST_CELLS, _CELLS_A_ROW = 10**7, 3
"""Cells of a table of labels or records, each of which becomes an object; a row takes as much as three of them."""
MOST_MEMBERS, _BYTES_A_MEMBER = 50_000, 100
"""Members of a tar, each of which takes some 30 microseconds; and one for each so many bytes."""
MOST_GROUP, GROUP_PER_BYTE, GROUP_BATCH = 128 * 1024**2, 20, 256 * 1024**2
"""Bytes that a group of rows of a parquet file of images unpacks to, and all of the file for each of its bytes where a
group has more; and of a batch of rows if each had the largest value that the group may hold."""
MOST_WORD = 1000
"""Characters of a label."""


def lifted() -> bool:
    """Whether the user has lifted the limits that an honest file may reach (``SADDLEPOINT_LIMITS=off``)."""
    return os.environ.get("SADDLEPOINT_LIMITS", "").lower() == "off"


def check_unpacked(where: str, unpacked: int, size: int) -> None:
    """Refuse an archive or a packed file by what it says that it unpacks to.

    Args:
        where: the file, for messages.
        unpacked: bytes of all that is read of it.
        size: bytes of the file.

    Raises:
        DataError: if they are more than `MOST_UNPACKED`, and more than `UNPACKED_PER_BYTE` for each byte of the file.
    """
    most = MOST_UNPACKED + UNPACKED_PER_BYTE * size
    if unpacked > most and not lifted():
        raise DataError(
            f"{where} unpacks to {unpacked:,} bytes, and of a file of {size:,} at most {most:,} are unpacked; unpack "
            f"it yourself, {LIFT}"
        )


def check_columns(where: str, count: int) -> None:
    """Refuse a table with absurdly many columns.

    Raises:
        DataError: if there are more than `MOST_COLUMNS`.
    """
    if count > MOST_COLUMNS:
        raise DataError(f"{where} has {count:,} columns, more than {MOST_COLUMNS:,}; give fewer")


def check_members(where: str, count: int, size: int) -> None:
    """Refuse an archive of a great many members; called while they are counted.

    Raises:
        DataError: if there are more than `MOST_MEMBERS`, and more than one for each 100 bytes of the file.
    """
    _check_count(where, count, size, MOST_MEMBERS + size // _BYTES_A_MEMBER, "members", "unpack it yourself")


def check_series(where: str, count: int, size: int) -> None:
    """Refuse a file of a great many series; called while they are counted.

    Raises:
        DataError: if there are more than `MOST_SERIES`, and more than one for each 50 bytes of the file.
    """
    _check_count(where, count, size, MOST_SERIES + size // _BYTES_A_SERIES, "series", "give a part of them")


def _check_count(where: str, count: int, size: int, most: int, what: str, remedy: str) -> None:
    if count > most and not lifted():
        raise DataError(f"{where} holds more than {most:,} {what} in {size:,} bytes; {remedy}, {LIFT}")


def check_cells(where: str, rows: int, columns: int) -> None:
    """Refuse a table of labels, or of records, that would take too much memory.

    Raises:
        DataError: if it has more than `MOST_COLUMNS` columns or `MOST_CELLS` cells.
    """
    check_columns(where, columns)
    if (rows + _CELLS_A_ROW) * (columns + _CELLS_A_ROW) > MOST_CELLS and not lifted():
        raise DataError(
            f"{where} has {rows:,} rows of {columns:,} columns, and at most {MOST_CELLS:,} cells are read; keep the "
            f"columns that are needed, {LIFT}"
        )


def check_table(where: str, cells: int, size: int) -> None:
    """Refuse a table of series of which nearly all is packed away; called as soon as its cells are known.

    Args:
        where: the file, for messages.
        cells: rows times columns; of texts, eighths of their bytes.
        size: bytes of the file.

    Raises:
        DataError: if they are more than `MOST_TABLE`, and more than `TABLE_PER_BYTE` for each byte of the file.
    """
    most = MOST_TABLE + TABLE_PER_BYTE * size
    if cells > most and not lifted():
        raise DataError(
            f"{where} holds {cells:,} cells or more, and of a file of {size:,} bytes at most {most:,} are read; take "
            f"fewer --columns or fewer rows, {LIFT}"
        )


class Texts:
    """The files of labels of one data set, counted while they are read.

    Args:
        where: the data set, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where, self.left = where, MOST_TEXTS

    def room(self, name: str, size: int, must: bool) -> bool:
        """Count a file before it is read or unpacked, and return whether there is room for it.

        Args:
            name: of the file.
            size: bytes.
            must: whether it is called as label files are; others are then left aside.

        Raises:
            DataError: if one that is called so is larger than `MOST_TEXT`, or all of them than `MOST_TEXTS`.
        """
        fits = size <= min(MOST_TEXT, self.left)
        if must and not fits:
            raise DataError(
                f"{self.where}: {name} has {size:,} bytes; of files of labels {MOST_TEXT:,} bytes each and "
                f"{MOST_TEXTS:,} together are read: keep the columns that are needed, or leave it out"
            )
        self.left -= size if fits else 0
        return fits
