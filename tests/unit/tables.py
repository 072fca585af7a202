"""Tables for tests, written as files, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables.table import Table, read_table
from tests.unit.data_helpers import own_cache  # noqa: F401


def write(path: Path, frame: pd.DataFrame, **words: object) -> Path:
    """Write a frame as CSV and return the path."""
    frame.to_csv(path, **{"index": False, **words})  # type: ignore[arg-type]
    return path


def said(table: Table) -> str:
    """Return all findings as one text."""
    return " | ".join(finding.sentence() for finding in table.findings)


def follow(path: Path, error: OpenQuestion) -> list[Table]:
    """Read a table as each reading of a question says."""
    return [read_table(path, Options.of(**dict(reading.options))) for reading in error.readings]


def noise(rows: int, seed: int = 0) -> np.ndarray:
    """Return numbers that are no time and no series."""
    return np.random.default_rng(seed).normal(size=rows).round(3)


def panel(groups: list[object], rows: int = 30, *, by_time: bool = False, name: str = "shop") -> pd.DataFrame:
    """Return several series with the same dates under one another, or mixed by date."""
    days = pd.date_range("2021-01-01", periods=rows)
    frame = pd.DataFrame({"date": np.tile(days, len(groups)), name: np.repeat(np.array(groups, object), rows)})
    frame["value"] = noise(len(frame))
    return frame.sort_values("date", kind="stable") if by_time else frame
