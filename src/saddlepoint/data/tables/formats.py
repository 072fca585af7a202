"""Readers of further formats of series, by the ending of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from saddlepoint.data.options import Options
from saddlepoint.data.tables.frame import Frame
from saddlepoint.data.tables.grids import read_grid
from saddlepoint.data.tables.long_array import read_array
from saddlepoint.data.tables.ucr import read_arff, read_ts, read_tsf
from saddlepoint.data.tables.workbook import read_workbook, refuse_workbook

READERS: dict[str, Callable[[Path, Options], Frame]] = {
    ".xlsx": read_workbook, ".xlsm": read_workbook, ".xls": refuse_workbook, ".xlsb": refuse_workbook,
    ".ods": refuse_workbook, ".ts": read_ts, ".tsf": read_tsf, ".arff": read_arff, ".nc": read_grid, ".nc4": read_grid,
    ".cdf": read_grid, ".zarr": read_grid,
}  # fmt: skip
"""A ``.zarr`` is a folder."""

ARRAYS: dict[str, Callable[[Path, Options], Frame]] = {".npy": read_array, ".npz": read_array}
"""These hold series only where `kind_of` says so; ready windows are read by `load_ready`."""
