"""NetCDF files and zarr stores (xarray): variables along a time, a series for each place of their other dimensions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.data import limits
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note, OpenQuestion, Reading
from saddlepoint.data.sources.extras import check_room, guarded, need
from saddlepoint.data.sources.hdf5 import refuse_outside
from saddlepoint.data.tables.frame import Frame

_KIND = "NetCDF or zarr"
_PICKLED = ("pickle", "dill")
_MOST_SERIES = 100_000
_MOST_METADATA = 16 * 1024**2
PLACE = "series"
"""Name of the column that tells the series apart, where several dimensions do."""


def read_grid(path: Path, options: Options) -> Frame:
    """Read variables that share a time: columns are variables, each place of the other dimensions is a series.

    Args:
        path: a NetCDF file or a zarr folder.
        options: ``columns`` names variables, ``time_column`` the dimension that is the time.

    Raises:
        OpenQuestion: if several dimensions could be the time, or variables do not share theirs.
        DataError: if it is damaged, or too large.
    """
    xarray = need("xarray", "netcdf", path.suffix.lower())
    engine = _engine(path)
    with guarded(path, _KIND), xarray.open_dataset(path, engine=engine, decode_times=False) as raw:
        return _read(xarray, path, raw, options)


def _read(xarray: Any, path: Path, raw: Any, options: Options) -> Frame:
    chosen = _variables(path, raw, options)
    dims = max((raw[name].dims for name in chosen), key=len)
    time = _time(path, raw, dims, options)
    others = [dim for dim in dims if dim != time]
    rows = int(np.prod([raw.sizes[dim] for dim in dims], dtype=object))
    if others and rows // max(1, raw.sizes[time]) > _MOST_SERIES:
        sizes = " x ".join(f"{raw.sizes[dim]} {dim}" for dim in others)
        raise DataError(
            f"{path} holds {sizes} series, more than {_MOST_SERIES:,}; take a part of them with xarray's sel"
        )
    size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    limits.check_table(str(path), rows * (len(chosen) + 2), size)
    check_room(path, f"{shortened(chosen, 8)} along {', '.join(map(str, dims))}", 8 * rows * (len(chosen) + 2))
    times, notes = _times(xarray, raw, time)
    table = {str(name): _column(raw[name], dims, time, raw.sizes) for name in chosen}
    length = raw.sizes[time]
    series = rows // max(1, length)
    columns: dict[str, Any] = {} if times is None else {str(time): np.tile(times, series)}
    if others:
        columns[_place(others)] = np.repeat(np.array(_names(raw, others), dtype=object), length)
        notes.append(Finding("series", f"each of the {series:,} places along {shortened([*map(str, others)], 8)} is a "
                             "series", f"dimensions beside the time '{time}'"))  # fmt: skip
    columns |= table
    left = [str(name) for name in raw.data_vars if name not in chosen]
    if left:
        notes.append(Finding("columns", f"other variables are left out: {shortened(left, 8)}",
                             "they are no numbers along the time, or not asked for"))  # fmt: skip
    import pandas

    return Frame(
        pandas.DataFrame(columns), tuple(notes), time=None if times is None else str(time),
        group=_place(others) if others else None, moments=True,
    )  # fmt: skip


def _engine(path: Path) -> str:
    """Return what reads a path, after a look at what could lead out of it.

    Raises:
        DataError: if it is neither, refers to other files, or holds pickles.
    """
    if path.is_dir():
        need("zarr", "netcdf", ".zarr")
        _refuse_pickles(path)
        return "zarr"
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    if start == b"\x89HDF\r\n\x1a\n":
        need("h5netcdf", "netcdf", ".nc")
        refuse_outside(path)
        return "h5netcdf"
    if start[:3] == b"CDF":
        return "scipy"
    raise DataError(f"{path} is no NetCDF file (it starts with {start[:4]!r}); the copy may be damaged: fetch it again")


def _refuse_pickles(path: Path) -> None:
    """Refuse a store whose arrays name a codec that unpickles, and metadata that cannot be read."""
    for file in sorted(path.rglob("*")):
        if file.name not in (".zarray", ".zmetadata", "zarr.json"):
            continue
        try:
            if file.stat().st_size > _MOST_METADATA:
                raise ValueError("it is too large")
            held = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{file} cannot be read as zarr's metadata ({error}); fetch the store again") from error
        if any(word in _PICKLED for word in _codecs(held)):
            raise DataError(
                f"{file} asks for pickles, which can run any program and are never read; save plain numbers"
            )


def _codecs(held: Any) -> list[str]:
    """Return every value of ``id`` and ``name`` in nested metadata."""
    found, stack = [], [held]
    while stack:
        thing = stack.pop()
        if isinstance(thing, dict):
            found += [
                str(thing[key]).split(".")[-1].lower() for key in ("id", "name") if isinstance(thing.get(key), str)
            ]
            stack += thing.values()
        elif isinstance(thing, list):
            stack += thing
    return found


def _variables(path: Path, raw: Any, options: Options) -> list[Any]:
    """Return the variables to read: those of numbers whose dimensions lie within those of one of them.

    Raises:
        OpenQuestion: if variables have different dimensions.
        DataError: if there are none, or one that is asked for is not there.
    """
    bounds = {raw[name].attrs.get("bounds") for name in raw.variables}
    numbers = [
        name for name in raw.data_vars if raw[name].dtype.kind in "biuf" and raw[name].dims and name not in bounds
    ]
    if options.columns is not None:
        for name in options.columns:
            if name not in raw.data_vars:
                raise DataError(
                    f"{path} has no variable '{name}' (--columns); {suggest(name, [*map(str, raw.data_vars)])}"
                )
        numbers = [name for name in raw.data_vars if name in options.columns]
    if not numbers:
        raise DataError(
            f"{path} holds no variable of numbers along a dimension (it holds {shortened([*map(str, raw)], 8)})"
        )
    sets = {frozenset(raw[name].dims) for name in numbers}
    top = max(sets, key=len)
    if all(found <= top for found in sets):
        return numbers
    groups = [[str(n) for n in numbers if frozenset(raw[n].dims) == found] for found in sorted(sets, key=sorted)]
    readings = [
        Reading(f"{shortened(group, 8)} along {', '.join(map(str, raw[group[0]].dims))}", {"columns": ",".join(group)},
                [f"{name}: " + " x ".join(f"{raw.sizes[d]} {d}" for d in raw[name].dims) for name in group[:3]])
        for group in groups
    ]  # fmt: skip
    raise OpenQuestion(f"{path} holds variables along different dimensions; which ones?", readings)


def _time(path: Path, raw: Any, dims: Sequence[Any], options: Options) -> Any:
    """Return the dimension that is the time.

    Raises:
        OpenQuestion: if several could be.
        DataError: if the one that is asked for is none of theirs.
    """
    if options.time_column not in (None, ("none",)):
        (name, *_) = options.time_column or ("",)
        if name not in dims:
            raise DataError(f"{path}: '{name}' (--time-column) is no dimension; {suggest(name, [*map(str, dims)])}")
        return name
    called = [dim for dim in dims if _is_time(raw, dim)]
    if len(called) == 1 or len(dims) == 1:
        return (called or list(dims))[0]
    readings = [Reading(f"rows go along '{dim}' ({raw.sizes[dim]} steps)", {"time_column": str(dim)})
                for dim in called or dims]  # fmt: skip
    raise OpenQuestion(f"{path}: which dimension is the time?", readings)


def _is_time(raw: Any, dim: Any) -> bool:
    if dim not in raw.coords:
        return str(dim).lower() in ("time", "t")
    attrs = raw[dim].attrs
    units = str(attrs.get("units", "")).lower()
    dated = raw[dim].dtype.kind == "M" or " since " in units
    return dated or attrs.get("standard_name") == "time" or attrs.get("axis") == "T" or str(dim).lower() == "time"


def _times(xarray: Any, raw: Any, time: Any) -> tuple[np.ndarray | None, list[Note]]:
    """Return times as datetime64, or as the numbers that stand in the file where their calendar has other days."""
    if time not in raw.coords:
        return None, [Finding("time", f"rows are in order along '{time}'", "it has no coordinate")]
    coordinate = raw[time]
    if coordinate.dtype.kind not in "iuf" or " since " not in str(coordinate.attrs.get("units", "")):
        return coordinate.values, [Finding("time", f"the coordinate '{time}' is the time")]
    calendar = str(coordinate.attrs.get("calendar", "standard")).lower()
    units = str(coordinate.attrs["units"])
    if calendar in ("standard", "gregorian", "proleptic_gregorian"):
        try:
            times = xarray.decode_cf(raw[[time]].reset_coords(drop=True))[time].values
            if times.dtype.kind == "M":
                return times, [Finding("time", f"the coordinate '{time}' is the time", f"its units are '{units}'")]
        except Exception:  # dates before 1678 and units such as "months since" fail in many ways
            pass
    why = f"its calendar is '{calendar}'" if calendar != "standard" else "its units fit no dates"
    return coordinate.values, [Finding("time", f"the time is '{time}' as numbers: {units}", why, sure=False)]


def _column(variable: Any, dims: Sequence[Any], time: Any, sizes: Any) -> np.ndarray:
    """Return one column: the time runs fastest; what lacks a dimension is the same along it."""
    order = [*[dim for dim in dims if dim != time], time]
    missing = {dim: sizes[dim] for dim in order if dim not in variable.dims}
    found: np.ndarray = variable.expand_dims(missing).transpose(*order).values.reshape(-1)
    return found


def _place(others: Sequence[Any]) -> str:
    return str(others[0]) if len(others) == 1 else PLACE


def _names(raw: Any, others: Sequence[Any]) -> list[str]:
    """Return the name of each place along dimensions, the last running fastest."""
    parts: list[list[str]] = []
    for dim in others:
        values = raw[dim].values if dim in raw.coords else np.arange(raw.sizes[dim])
        texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        parts.append(texts if len(others) == 1 else [f"{dim}={text}" for text in texts])
    names = [""]
    for texts in parts:
        names = [f"{name} {text}".strip() for name in names for text in texts]
    return names
