"""How data is prepared, as the caller asked for it: images brought to one shape, tables cut into windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast

from saddlepoint.core.config import option
from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.flags import flag, names_of, read_size, shown_size, two_numbers

MIN_SIDE, MAX_SIDE = 4, 1024
MIN_WINDOW, MAX_WINDOW = 3, 4096

Kind = Literal["image", "vector", "sequence"]
"""The same as `Modality`, here without PyTorch: the command reads this file as it starts."""

Room = Literal["any", "image", "table"]
"""What an option is for."""


class Preparation(TypedDict, total=False):
    """The same as `Options`, as keyword arguments of `load_dataset`, `inspect_source`, `plan` and `train`."""

    modality: Kind | None
    size: int | str | tuple[int, int] | None
    channels: int | None
    fit: str
    background: str
    pages: str | None
    levels: str | tuple[float, float] | None
    depth: int
    dedupe: bool
    labels: str | None
    splits: str | None
    unlabelled: str | None
    array: str | None
    attributes: str | Sequence[str]
    columns: str | Sequence[str] | None
    time_column: str | Sequence[str] | None
    group_column: str | None
    label_column: str | None
    window: int | None
    dates: str | None
    decimal: str | None
    header: bool | None
    missing: str | Sequence[str]
    stray_times: str | None
    resample: str | None
    calendar: str | None
    keep: str | Sequence[str]
    series: str | None
    wide: bool | None
    sheet: str | None


@dataclass(frozen=True)
class Options:
    """Preparation of images and of tables.

    Attributes:
        modality: ``image``, ``vector`` or ``sequence``, where a file can be read as several; None: as it looks.
        size: (width, height) in pixels; None: chosen from the data. A number is the side of a square.
        channels: 1, 3, or 4 (colour and alpha); None: 1 if every image is grey, else 3.
        fit: ``crop`` the centre of an image whose aspect is another, or ``pad`` it with the background.
        background: what transparent images are laid on, and padded with: a name or ``#rrggbb``.
        pages: of files with several images: ``first`` or ``all``; None: the first, which is said.
        levels: (lowest, highest) value of images of more than 8 bits, which become black and white; None: one scale
            for the set, by the values in use.
        depth: bits of a value that are kept through training: 8 or 16.
        dedupe: keep one of images that look the same.
        labels: where labels of images come from: ``folders``, ``names`` (of files), ``none``, or the name of a label
            file; None: as they are found.
        splits: ``folders``: those called train, valid and test are splits; ``none``: these names say nothing; ``all``:
            every image is trained on, and held-out ones are training images too; None: as they are found, or asked
            about.
        unlabelled: images without a label where others have one: ``drop`` them, or ``keep`` all without labels; None:
            a few are dropped, many asked about.
        array: which array of a file holds the images or windows, where several could (HDF5, .npz); None: the only one.
        attributes: names of the columns to use of a table of attributes; empty: all.
        columns: features to take from a table; None: all columns that are nothing else.
        time_column: None: the column (or columns) that hold times; several names where date and clock stand apart;
            ``("none",)``: rows are in order and no column is the time.
        group_column: tells several series apart; None: recognised; ``none``: the table is one series.
        label_column: class of each row of a table, or of each image of a label table; None: no labels in a table of
            series, and the column that is recognised in a label table.
        window: rows in a window; None: 24.
        dates: ``day-first``, ``month-first``, ``year-first``, or a format of `strftime`; None: by what they hold.
        decimal: ``.`` or ``,``; None: by what the numbers look like.
        header: whether the first line names the columns; None: by what it holds.
        missing: marks that stand for missing values, beside empty cells and NA.
        stray_times: ``drop`` or ``keep``: rows whose time lies far from all others, as a mistyped year does; None:
            asked about.
        resample: of irregular times: a step such as ``1h`` to which rows are brought, or ``steps``: rows are kept, and
            the time to the next is a feature.
        calendar: ``on``: hour, weekday and season are told to the generator; ``off``; None: where the data has them.
        keep: rules between columns that rows follow, such as ``low <= high``; samples will.
        series: ``classes``: samples are asked for by series, and name it; ``alike``: series are of one kind; None:
            classes where there are 2 to 50.
        wide: whether a row is a whole series, not a moment; None: no, or asked about.
        sheet: name of the sheet of a workbook; None: the only one that holds a table.

    Raises:
        DataError: on a value that breaks one of these rules, with what is allowed.
    """

    modality: Kind | None = option(  # noqa: RUF009 - a field, as all others
        None, "How to read a file that fits several kinds: image, vector or sequence. Default: as the family needs it.",
        room="any", choices=("image", "vector", "sequence"),
    )  # fmt: skip
    size: tuple[int, int] | None = option(
        None, "Size in pixels: 64, or WIDTHxHEIGHT such as 64x96. Default: chosen from the data.", room="image"
    )
    channels: int | None = option(
        None, "1 for grey, 3 for colour, 4 for colour and alpha. Default: chosen from the data.", room="image"
    )
    fit: str = option(
        "crop", "crop or pad images of another aspect than the size.", room="image", choices=("crop", "pad")
    )
    background: str = option(
        "white", "What transparent images are laid on: white, black, grey, or #rrggbb.", room="image"
    )
    pages: str | None = option(
        None, "Of files with several images (TIFF, GIF, WebP): first or all. Default: first, and said.", room="image",
        choices=("first", "all"),
    )  # fmt: skip
    levels: tuple[float, float] | None = option(
        None, "LOW,HIGH: values of 16-bit and float images that become black and white. Default: the range in use.",
        room="image",
    )  # fmt: skip
    depth: int = option(8, "Bits of a value that are kept: 8, or 16 for more than 256 levels.", room="image")
    dedupe: bool = option(False, "Keep one of images that look the same.", room="image")
    labels: str | None = option(
        None,
        "Where labels of images come from: folders, names, none, or a label file. Default: as found.",
        room="image",
    )
    splits: str | None = option(
        None, "folders called train, valid, test are splits; none: their names say nothing; all: train on every image, "
        "which leaves none to measure by. Default: as found.",
        room="image", choices=("folders", "none", "all"),
    )  # fmt: skip
    unlabelled: str | None = option(
        None, "Images without a label where others have one: drop them, or keep all without labels.", room="image",
        choices=("drop", "keep"),
    )  # fmt: skip
    array: str | None = option(
        None, "Which array of a file holds the images or windows (HDF5, .npz). Default: the only one.", room="any"
    )
    attributes: tuple[str, ...] = option(
        (),
        "Columns to use of a table of attributes, such as Black_Hair,Smiling. Default: all.",
        room="image",
        many=True,
    )
    columns: tuple[str, ...] | None = option(
        None, "Columns to learn, as a,b,c. Default: all that are not time, series or label.", room="table", many=True
    )
    time_column: tuple[str, ...] | None = option(
        None, "The time column, or several as DATE,CLOCK; none: rows are in order. Default: recognised.", room="table",
        many=True,
    )  # fmt: skip
    group_column: str | None = option(
        None, "The column that tells several series apart; none: it is one series. Default: recognised.", room="table"
    )
    label_column: str | None = option(None, "The column that holds a class, of a table or a label table.", room="any")
    window: int | None = option(None, "Rows in a window. Default: 24.", room="table")
    dates: str | None = option(
        None, "How dates are written: day-first, month-first, year-first, or a format such as %d.%m.%y.", room="table"
    )
    decimal: str | None = option(
        None, "The decimal mark of numbers: . or , . Default: recognised.", room="table", choices=(".", ",")
    )
    header: bool | None = option(None, "Whether the first line names the columns. Default: recognised.", room="table")
    missing: tuple[str, ...] = option(
        (), "Marks of missing values beside empty cells, such as -200,-999.", room="table", many=True
    )
    stray_times: str | None = option(
        None, "Rows with a time far from all others, as a mistyped year: drop or keep them. Default: asked about.",
        room="table", choices=("drop", "keep"),
    )  # fmt: skip
    resample: str | None = option(
        None, "Of irregular times: a step such as 1h that rows are brought to; steps: time differences are learned.",
        room="table",
    )  # fmt: skip
    calendar: str | None = option(
        None, "Whether samples follow hour, weekday and season: on or off. Default: on where the data has them.",
        room="table", choices=("on", "off"),
    )  # fmt: skip
    keep: tuple[str, ...] = option(
        (), "Rules that the rows follow and samples shall, as 'low <= high, high >= open'.", room="table", many=True
    )
    series: str | None = option(
        None, "What several series are: classes to ask for, or alike. Default: classes, if they are 2 to 50.",
        room="table", choices=("classes", "alike"),
    )  # fmt: skip
    wide: bool | None = option(
        None, "Whether a row is a whole series, not a moment. Default: a moment, or asked about.", room="table"
    )
    sheet: str | None = option(None, "Sheet of a workbook. Default: the only one that holds a table.", room="table")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices, value = field.metadata["choices"], getattr(self, field.name)
            if choices and value is not None and value not in choices:
                raise DataError(f"{flag(field.name)} is '{value}'; {suggest(str(value), choices)}")
        for side in self.size or ():
            if not MIN_SIDE <= side <= MAX_SIDE:
                raise DataError(f"--size is {shown_size(self.size)}, but images are {MIN_SIDE} to {MAX_SIDE} pixels on "
                                "a side")  # fmt: skip
        if self.channels not in (None, 1, 3, 4):
            raise DataError(f"--channels is {self.channels}, but it must be 1 (grey), 3 (colour) or 4 (with alpha)")
        if self.depth not in (8, 16):
            raise DataError(f"--depth is {self.depth}, but it must be 8 or 16 bits")
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise DataError(f"--levels are {self.levels[0]:g},{self.levels[1]:g}, but the first must be the smaller")
        if self.window is not None and not MIN_WINDOW <= self.window <= MAX_WINDOW:
            raise DataError(f"--window is {self.window}, but a window has {MIN_WINDOW} to {MAX_WINDOW} rows")
        for name in ("attributes", "columns", "time_column"):
            names = getattr(self, name) or ()
            if len(set(names)) < len(names):
                raise DataError(f"{flag(name)} is {', '.join(names)}, but each must be named once")

    @classmethod
    def of(cls, **explicit: Any) -> Options:
        """Return options from keyword arguments or words of the command line: lists as ``a,b``, sizes as ``64x96``.

        >>> Options.of(size="64x96", columns="a, b").size
        (64, 96)
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in explicit:
            if name not in known:
                raise DataError(f"there is no option '{name}' of data; {suggest(name, known)}")
        read: dict[str, Any] = {}
        for name, value in explicit.items():
            if name == "size":
                value = read_size(value)
            elif name == "levels" and value is not None:
                value = two_numbers(value)
            elif known[name].metadata.get("many"):
                value = names_of(value)
                value = known[name].default if value is None else value
            read[name] = value
        return cls(**read)

    @property
    def default(self) -> bool:
        """Whether everything is left to the data."""
        return not self.set_for("image") and not self.set_for("table")

    def set_for(self, room: str) -> list[str]:
        """Return the names of the options for images, or for tables, that are not left to the data."""
        fields = [field for field in dataclasses.fields(self) if field.metadata["room"] == room]
        return [field.name for field in fields if getattr(self, field.name) != field.default]

    def for_images(self, name: str) -> Options:
        """Return the options if they fit images.

        Raises:
            DataError: if one is for tables.
        """
        if wrong := self.set_for("table"):
            raise DataError(f"'{name}' is no table of series: {flag(wrong[0])} is for tables; leave it out")
        return self

    def for_table(self, name: str) -> Options:
        """Return the options if they fit a table.

        Raises:
            DataError: if one is for images.
        """
        if wrong := self.set_for("image"):
            raise DataError(f"'{name}' holds sequences: {flag(wrong[0])} is for images; leave it out")
        return self

    def explicit(self) -> dict[str, Any]:
        """Return all that is not left to the data, as ``config.json`` keeps it: tuples are lists."""
        names = [name for room in ("any", "image", "table") for name in self.set_for(room)]
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def kept(self, room: Room) -> dict[str, Any]:
        """Return what a cache key of images, or of tables, depends on: options that are not left to the data."""
        return {name: getattr(self, name) for name in (*self.set_for("any"), *self.set_for(room))}


OPTION_FIELDS = dataclasses.fields(Options)
"""Fields of `Options`: metadata ``help``, ``room`` (any, image or table), ``many`` and ``choices``."""


def preparation_of(data: Mapping[str, Any]) -> Preparation:
    """Return the arguments of `load_dataset` that ``config.json`` keeps under ``data``."""
    kept: Mapping[str, Any] = data.get("options", data)  # runs of version 0.1 kept them among the rest
    names = [field.name for field in OPTION_FIELDS if kept is not data or field.name != "modality"]
    found = {name: kept[name] for name in names if kept.get(name) is not None}
    if kept is data and found.get("fit") == "pad":
        found["background"] = "black"  # there was no choice then
    return cast(Preparation, {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})
