"""How data is prepared, as the caller asked for it: images brought to one shape, tables cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saddlepoint._errors import DataError

MIN_SIDE, MAX_SIDE = 4, 1024
MIN_WINDOW, MAX_WINDOW = 3, 4096


@dataclass(frozen=True)
class Options:
    """Preparation of images and of tables.

    Attributes:
        size: height and width in pixels; None: chosen from the data.
        channels: 1 or 3; None: 1 if every image is grey, else 3.
        fit: ``crop`` the centre square of an oblong image, or ``pad`` it with black to a square.
        columns: features to take from a table; None: all columns of numbers.
        time_column: None: the first column of dates, if there is one.
        group_column: tells several series apart; None: the table is one series.
        label_column: class of each row; None: no labels.
        window: rows in a window; None: 24.
        attributes: names of the columns to use of a table of attributes; empty: all.

    Raises:
        DataError: on a size outside 4..1024, channels other than 1 or 3, an unknown fit, a window outside 2..4096, or
            an attribute named twice.
    """

    size: int | None = None
    channels: int | None = None
    fit: str = "crop"
    columns: tuple[str, ...] | None = None
    time_column: str | None = None
    group_column: str | None = None
    label_column: str | None = None
    window: int | None = None
    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size is not None and not MIN_SIDE <= self.size <= MAX_SIDE:
            raise DataError(f"size is {self.size}, but images are {MIN_SIDE} to {MAX_SIDE} pixels on a side")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels is {self.channels}, but it must be 1 (grey) or 3 (colour)")
        if self.fit not in ("crop", "pad"):
            raise DataError(f"fit is '{self.fit}', but it must be crop (centre square) or pad (with black)")
        if self.window is not None and not MIN_WINDOW <= self.window <= MAX_WINDOW:
            raise DataError(f"window is {self.window}, but a window has {MIN_WINDOW} to {MAX_WINDOW} rows")
        if len(set(self.attributes)) < len(self.attributes):
            raise DataError(f"attributes are {', '.join(self.attributes)}, but each must be named once")

    @property
    def default(self) -> bool:
        """Whether everything is left to the data."""
        return self == Options()

    def for_images(self, name: str) -> Options:
        """Return the options if they fit images.

        Raises:
            DataError: if one is for tables.
        """
        wrong = [key for key in TABLE_KEYS if getattr(self, key) is not None]
        if wrong:
            raise DataError(
                f"'{name}' is no table of series: --{wrong[0].replace('_', '-')} is for CSV files; leave it out"
            )
        return self

    def for_table(self, name: str) -> Options:
        """Return the options if they fit a table.

        Raises:
            DataError: if one is for images.
        """
        if (self.size, self.channels, self.fit, self.attributes) != (None, None, "crop", ()):
            raise DataError(
                f"'{name}' holds sequences; size, channels, fit and attributes are for images: leave them out"
            )
        return self

    @property
    def kept(self) -> dict[str, Any]:
        """The part that a cache key of images depends on."""
        shape = {"size": self.size, "channels": self.channels, "fit": self.fit}
        return shape | ({"attributes": list(self.attributes)} if self.attributes else {})


TABLE_KEYS = ("columns", "time_column", "group_column", "label_column", "window")


def preparation_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load_dataset` that ``config.json`` keeps under ``data``."""
    kept = {key: data[key] for key in ("size", "channels", "fit")} | {key: data.get(key) for key in TABLE_KEYS}
    return kept | {"attributes": tuple(data.get("attributes") or ())}
