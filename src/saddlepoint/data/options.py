"""How images are brought to one shape, as the caller asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saddlepoint._errors import DataError

MIN_SIDE, MAX_SIDE = 4, 1024


@dataclass(frozen=True)
class Options:
    """Preparation of images.

    Attributes:
        size: height and width in pixels; None: chosen from the data.
        channels: 1 or 3; None: 1 if every image is grey, else 3.
        fit: ``crop`` the centre square of an oblong image, or ``pad`` it with black to a square.
        attributes: names of the columns to use of a table of attributes; empty: all.

    Raises:
        DataError: on a size outside 4..1024, channels other than 1 or 3, an unknown fit, or an attribute named twice.
    """

    size: int | None = None
    channels: int | None = None
    fit: str = "crop"
    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size is not None and not MIN_SIDE <= self.size <= MAX_SIDE:
            raise DataError(f"size is {self.size}, but images are {MIN_SIDE} to {MAX_SIDE} pixels on a side")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels is {self.channels}, but it must be 1 (grey) or 3 (colour)")
        if self.fit not in ("crop", "pad"):
            raise DataError(f"fit is '{self.fit}', but it must be crop (centre square) or pad (with black)")
        if len(set(self.attributes)) < len(self.attributes):
            raise DataError(f"attributes are {', '.join(self.attributes)}, but each must be named once")

    @property
    def key(self) -> dict[str, Any]:
        """What tells apart data prepared with these options from the same data prepared with others."""
        shape = {"size": self.size, "channels": self.channels, "fit": self.fit}
        return shape | ({"attributes": list(self.attributes)} if self.attributes else {})

    @property
    def default(self) -> bool:
        """Whether everything is left to the data."""
        return self == Options()
