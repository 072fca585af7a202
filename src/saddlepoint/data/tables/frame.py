"""What a file of series holds before anybody decides which column is what."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saddlepoint.data.plan import Note

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Look:
    """How a file of text looks; samples are written alike.

    Attributes:
        delimiter: between cells; " " stands for any run of blanks.
        decimal: mark before decimals, "." or ",".
        thousands: mark between thousands; "" without.
        quoted: whether cells of text stand in quotes.
        quoted_header: whether names of columns do.
        header: whether the file names its columns.
    """

    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    quoted: bool = False
    quoted_header: bool = False
    header: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as ``config.json`` keeps it; `Look` takes it back as keywords."""
        return dict(vars(self))


@dataclass(frozen=True)
class Frame:
    """A table that a reader of another format made: a workbook, arrays, NetCDF, the files of the field.

    A reader stands in `formats.READERS` under its ending, such as ``.xlsx``: ``read(path, options) -> Frame``. It
    decides nothing that `roles` can: it names ``time``, ``group`` and ``label`` only where the format itself says what
    they are.

    Attributes:
        data: rows in the file's order, columns named by texts; times as datetime64 where the format has them.
        notes: what was decided on the way.
        look: of the file; as it is for formats without text.
        time: name of the column that the format calls the time; None: it says nothing.
        group: name of the column that tells series apart by the format's own rule, with one row a moment.
        label: name of the column that holds the class by the format's own rule.
        moments: whether each row is a moment by the format's own rule, whatever the columns are called.
    """

    data: pandas.DataFrame
    notes: tuple[Note, ...] = ()
    look: Look = Look()
    time: str | None = None
    group: str | None = None
    label: str | None = None
    moments: bool = False


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name for a new column: this one, or the first with underscores behind it that none has."""
    while name in taken:
        name += "_"
    return name
