"""What a file of strangers may cost: one budget of pixels, bytes, columns and cells, checked before decoding.

An input of at most 10 MB costs at most about 1 GB of memory and 10 s of one core in any reader (benchmarks/costs.py).
Larger files may cost more, in proportion to their bytes: where a limit has a rate, the larger of the two counts.
``SADDLEPOINT_LIMITS=off`` lifts those that an honest file may reach; those that guard memory against a single
picture, page or header stay.
"""

from __future__ import annotations

import os

from saddlepoint._errors import DataError

PICTURE_KINDS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
"""Kinds of picture files that are opened: decoded within this process, never handed to another program (as EPS is).
TGA, which has no mark at its start, is tried last."""

MOST_PIXELS = 50 * 10**6
"""Pixels of one picture, page or frame; beyond, as many as its file has bytes: little packing is a proof of honesty."""
MOST_DEEP_PIXELS = 16 * 10**6
"""The same for pictures of more than 8 bits, whose values take several copies in wider types."""
OWN_PIXELS = 2**27
"""Pixels of a grid of samples that saddlepoint wrote itself."""
SERVED_PIXELS = 16 * 10**6
"""Pixels of a picture that a server or the studio is given."""
DRAFT_PIXELS = 16 * 10**6
"""Pixels from which a JPEG is decoded at a half, a quarter or an eighth, if that is still twice the size needed."""

MOST_WORK, WORK_PER_BYTE = 160 * 10**6, 16
"""Pixels of all pictures of a data set (in units of one RGB pixel, see `images.opening.work_of`), and for each byte of
their files. Photographs have 1 to 10 pixels a byte, drawings up to 50."""

MOST_SCANS = 64
"""Scans of a JPEG: each goes over all of its pixels. Progressive ones have about 10."""
MOST_SCANNED = 600 * 10**6
"""Pixels of a JPEG times its scans."""
MOST_PAGES = 100_000
"""Pages or frames of one file."""
MOST_TAGS = 1_000_000
"""Entries in all directories of a TIFF."""

MOST_TEXT, MOST_TEXTS = 64 * 1024**2, 256 * 1024**2
"""Bytes of one file of labels or attributes, and of all of a data set."""
MOST_MEMBER = 512 * 1024**2
"""Bytes of one picture in an archive."""
MAX_RATIO, RATIO_FROM = 200, 16 * 1024**2
"""Bytes unpacked for each byte packed, of members from so many bytes."""

MOST_COLUMNS = 10_000
"""Columns of a table."""


def lifted() -> bool:
    """Whether the user has lifted the limits that an honest file may reach (``SADDLEPOINT_LIMITS=off``)."""
    return os.environ.get("SADDLEPOINT_LIMITS", "").lower() == "off"


LIFT = "or set SADDLEPOINT_LIMITS=off if you trust it"


def check_columns(where: str, count: int) -> None:
    """Refuse a table with absurdly many columns.

    Raises:
        DataError: if there are more than `MOST_COLUMNS`.
    """
    if count > MOST_COLUMNS:
        raise DataError(f"{where} has {count:,} columns, more than {MOST_COLUMNS:,}; give fewer")


class Texts:
    """The files of labels of one data set, counted while they are read.

    Args:
        where: the data set, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where, self.left = where, MOST_TEXTS

    def room(self, name: str, size: int) -> None:
        """Count a file of ``size`` bytes before it is read or unpacked.

        Raises:
            DataError: if it is larger than `MOST_TEXT`, or all of them are larger than `MOST_TEXTS`.
        """
        if size > MOST_TEXT:
            raise DataError(
                f"{self.where}: {name} has {size:,} bytes; files of labels are read up to {MOST_TEXT:,}: keep the "
                "columns that are needed, or leave it out"
            )
        self.left -= size
        if self.left < 0:
            raise DataError(
                f"{self.where}: {name} and the files of labels before it have more than {MOST_TEXTS:,} bytes; leave "
                "some out"
            )
