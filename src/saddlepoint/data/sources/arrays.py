"""Arrays as sources: .npy and .npz files, idx files, and data sets that are already prepared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.sources.folder import Item, Label, Source

_CHUNK = 1024


def array_parts_source(
    name: str, key: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]], keep: object = None
) -> Source:
    """Return a source over arrays, by split ("" if there is none).

    Images are (rows, height, width), (rows, height, width, channel) or (rows, channel, height, width), as
    uint8, booleans, or numbers of any other type, whose levels the preparation decides as for deep picture files;
    vectors are floats (rows, feature).

    Args:
        name: what the user asked for.
        key: see `Source`.
        parts: data and labels of each split.
        keep: kept alive as long as the source (temporary files).

    Raises:
        DataError: on another shape or type, NaN or infinity, or a count of labels other than the count of rows.
    """
    for split, (x, y) in parts.items():
        where = f"{name} ({split})" if split else name
        _check_shape(where, x)
        _check_values(where, x)
        if y is not None and (y.ndim == 2 and y.shape[1] == 1):
            y = y[:, 0]
        if y is not None and y.shape != (len(x),):
            raise DataError(f"{where} holds {len(x)} rows but labels of shape {y.shape}; give one label for each row")
        if y is not None and y.dtype.kind not in "biufSU":
            raise DataError(f"{where} has labels of type {y.dtype}; labels are whole numbers or words")
    first = next(iter(parts.values()))[0]
    _check_alike(name, parts)
    vectors = first.ndim == 2
    notes = ("booleans became 0 and 255",) if first.dtype == np.bool_ else ()

    def items() -> Iterator[Item]:
        for split, (x, y) in parts.items():
            for row, value in enumerate(_rows(x, vectors)):
                yield Item(
                    value, None if y is None else to_label(y.reshape(-1)[row]), f"{split or 'row'} {row}".strip(), split
                )

    return Source(name, key, items, modality="vector" if vectors else "image", notes=notes, keep=keep)


def _check_shape(where: str, x: np.ndarray) -> None:
    if x.dtype.kind not in "buif":
        raise DataError(f"{where} is of type {x.dtype}; images are uint8 or floats, vectors are floats")
    if x.size == 0:
        raise DataError(f"{where} is empty (shape {x.shape})")
    if x.ndim == 2 and x.dtype.kind == "f":
        return
    if x.ndim == 2:
        raise DataError(
            f"{where} has shape {x.shape} and type {x.dtype}: flat images must be reshaped to (rows, height, width), "
            "vectors must be floats"
        )
    if x.ndim == 3 or (x.ndim == 4 and (x.shape[3] in (1, 3, 4) or x.shape[1] in (1, 3, 4))):
        return
    raise DataError(
        f"{where} has shape {x.shape}; images are (rows, height, width), (rows, height, width, channel) or "
        "(rows, channel, height, width) with 1, 3 or 4 channels, vectors (rows, feature)"
    )


def _check_values(where: str, x: np.ndarray) -> None:
    if x.dtype.kind != "f":
        return
    for start in range(0, len(x), _CHUNK):
        chunk = np.asarray(x[start : start + _CHUNK])
        if not np.isfinite(chunk).all():
            place = np.argwhere(~np.isfinite(chunk))[0]
            value = chunk[tuple(place)]
            place[0] += start
            raise DataError(
                f"{where} holds {value} at position {tuple(int(i) for i in place)}; every value must be finite: "
                "fill or drop such rows"
            )
        most = float(np.abs(chunk).max())
        if x.ndim == 2 and most > float(np.finfo(np.float32).max):
            raise DataError(f"{where} holds values up to {most:g}, beyond 32-bit floats; rescale them")


def _check_alike(name: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> None:
    """Refuse splits that are not of one kind: one rule of scaling holds for all.

    Raises:
        DataError: if they differ in type, or vectors in their features.
    """
    (split, (first, _)), *rest = parts.items()
    for other, (x, _) in rest:
        same = x.dtype.kind == first.dtype.kind and x.ndim == first.ndim
        if not same or (x.ndim == 2 and x.shape[1] != first.shape[1]):
            raise DataError(
                f"{name}: {split} is {first.dtype} of shape {first.shape}, but {other} is {x.dtype} of shape "
                f"{x.shape}; give all parts the same type, range and features"
            )


def _rows(x: np.ndarray, vectors: bool) -> Iterator[np.ndarray]:
    last = x.ndim != 4 or x.shape[3] in (1, 3, 4)
    for start in range(0, len(x), _CHUNK):
        chunk = np.asarray(x[start : start + _CHUNK])
        if vectors:
            yield from chunk.astype(np.float32)
            continue
        if chunk.dtype == np.bool_:
            chunk = chunk.astype(np.uint8) * np.uint8(255)
        yield from chunk if last else chunk.transpose(0, 2, 3, 1)


def to_label(value: np.generic) -> Label:
    """Return a label as sources have it: a whole number or a word.

    Raises:
        DataError: if it has decimals.
    """
    label = value.item()
    if isinstance(label, bytes):
        return label.decode("utf-8", "backslashreplace")
    if isinstance(label, float) and not label.is_integer():
        raise DataError(f"a label is {label}; labels are whole numbers or words")
    return label if isinstance(label, str) else int(label)
