"""One long series in an array (time,) or (time, feature)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data import limits
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.sources.arrays import to_label
from saddlepoint.data.sources.extras import check_room
from saddlepoint.data.sources.npz import Held, open_arrays
from saddlepoint.data.tables.frame import Frame


def read_array(path: Path, options: Options) -> Frame:
    """Read one long series (time, feature) or (time,) from a .npy or .npz file: columns x1, x2, ... in order.

    Raises:
        DataError: if it is damaged or of another shape.
    """
    import pandas

    held = open_arrays(path, options.array)
    if len(held.parts) > 1:
        parts = shortened(list(held.parts), 8)
        raise DataError(f"{path} holds {parts} parts of rows; join them, or give windows (n, time, feature)")
    ((x, labels),) = held.parts.values()
    if x.ndim not in (1, 2) or x.dtype.kind not in "buif" or not x.size:
        raise DataError(f"{path} is {x.dtype} of shape {x.shape}, but a long series is (time, feature), of numbers")
    check_room(path, "the series", 8 * x.size)
    limits.check_columns(str(path), x.size // len(x))
    limits.check_table(str(path), x.size, path.stat().st_size)
    values = np.asarray(x).reshape(len(x), -1)
    names = column_names(path, held, values.shape[1])
    data = pandas.DataFrame({name: values[:, place] for place, name in enumerate(names)})
    says = f"one series of {len(x):,} rows and {len(names)} feature{'s'[: len(names) - 1]}, in order"
    vectors = x.ndim == 2 and x.dtype.kind == "f" and options.modality is None
    notes: list[Note] = [Finding("series", says, f"an array of shape {x.shape}",
                                 "--modality vector" if vectors else "", sure=not vectors)]  # fmt: skip
    if labels is not None and labels.shape[:1] == x.shape[:1]:
        data["label"] = [to_label(value) for value in np.asarray(labels).reshape(len(x), -1)[:, 0]]
    return Frame(data, tuple(notes), label="label" if "label" in data else None, moments=True)


def column_names(path: Path, held: Held, features: int) -> list[str]:
    """Return the names that a file gives its features, or x1, x2, ...

    Raises:
        DataError: if it gives another number of names, or one twice.
    """
    if held.columns is None:
        return ["x"] if features == 1 else [f"x{i + 1}" for i in range(features)]
    if len(held.columns) != features or len(set(held.columns)) < features:
        raise DataError(f"{path} names {len(held.columns)} columns, but holds {features} features; each has one name")
    return held.columns
