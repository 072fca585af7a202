"""The cache of prepared data: raw arrays to be memory-mapped, and a JSON that says what they must be.

An entry is a folder that appears by one rename, so it is there as a whole or not at all. It is checked when it is
opened: sizes and SHA-256 of every array (of evenly spaced blocks when an array is larger than 256 MB).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.durable import flush, flush_tree, make_folder
from saddlepoint.core.errors import DataError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.types import Modality
from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.images.decode import Look, look_from_json
from saddlepoint.data.plan import Note, as_findings, findings_from_json, findings_to_json
from saddlepoint.data.series.layout import Layout, layout_from_json

FORMAT = 4
"""Raised whenever prepared data would come out differently: entries of other formats are rebuilt."""

_WHOLE = 256 * 1024**2
_BLOCK = 1024**2
_ABANDONED_SECONDS = 2 * 24 * 3600


def entry_path(name: str, key: Mapping[str, Any]) -> Path:
    """Return where the data described by ``key`` is kept; ``name`` is for people who look into the folder."""
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    word = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")[-40:]
    return cache_dir() / "datasets" / f"{word}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def read(entry: Path, name: str) -> Dataset | None:
    """Open an entry, or return None if it is not there, incomplete, damaged or of another format."""
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            return None
        columns = (len(meta["classes"]),) if _labelling(meta) else ()
        splits = {split: _read_split(entry, split, meta["splits"][split], columns) for split in SPLITS}
        return Dataset(
            name, meta["modality"], splits, tuple(meta["classes"]), str(meta["fingerprint"]),
            findings_from_json(meta["findings"]), int(meta.get("static", 0)),
            layout_from_json(meta["layout"]) if meta.get("layout") else None, _labelling(meta),
            look_from_json(meta.get("look")),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def number(path: Path, make: Callable[[], int]) -> int:
    """Return the number kept at ``path``; if there is none yet, make and keep it."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made = make()
    try:
        make_folder(path.parent)
        write_atomically(path, str(made))
    except OSError as error:
        raise unwritable(error) from error
    return made


def workspace(entry: Path) -> Path:
    """Make a temporary folder beside ``entry`` to build it in.

    Raises:
        DataError: if the cache cannot be written.
    """
    try:
        make_folder(entry.parent)
        _sweep(entry.parent)
        # Not by mkdtemp, whose folders only their owner may read: a cache may be shared.
        place = entry.parent / f".build-{os.getpid()}-{uuid.uuid4().hex}"
        place.mkdir()
        return place
    except OSError as error:
        raise unwritable(error) from error


def made(entry: Path, name: str, build: Callable[[Path], None]) -> Dataset:
    """Build an entry in a workspace, and open it.

    Args:
        entry: of `entry_path`.
        name: what the user asked for.
        build: writes into the folder it is given, and ends in `publish`.

    Raises:
        DataError: if the cache cannot be written, or what ``build`` raises.
    """
    work = workspace(entry)
    try:
        build(work)
    except OSError as error:
        raise unwritable(error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    dataset = read(entry, name)
    if dataset is None:
        raise DataError(f"the cache entry {entry} vanished while it was opened; run the command again")
    return dataset


def unwritable(error: OSError) -> DataError:
    """Return the error for a cache that cannot be written."""
    return DataError(
        f"the cache folder {cache_dir()} cannot be written ({error.strerror or error}); "
        "free some space, or set SADDLEPOINT_CACHE_DIR to a folder on a larger disk"
    )


def publish(
    work: Path,
    entry: Path,
    *,
    modality: Modality,
    shape: tuple[int, ...],
    rows: Mapping[str, int],
    labelled: bool,
    classes: Sequence[str],
    notes: Sequence[Note],
    static: int = 0,
    layout: Layout | None = None,
    labelling: tuple[tuple[int, ...], ...] = (),
    dtype: str | None = None,
    look: Look | None = None,
) -> None:
    """Describe the arrays written into ``work`` and make them the entry, by one rename.

    If another process published the same entry meanwhile, its work is kept and ours is dropped.

    Args:
        work: folder from `workspace`, holding ``<split>.x`` and, if labelled, ``<split>.labels``.
        entry: where it goes.
        modality: image, vector or sequence.
        shape: shape of one row.
        rows: number of rows of each split.
        labelled: whether there are labels.
        classes: names of the classes.
        notes: how the data was read and what was done to it.
        static: how many features of a sequence, the last ones, are constant along each window.
        layout: the table that sequences were cut from.
        labelling: of rows that carry several labels at once.
        dtype: of the arrays; None: uint8 for images, else float32.
        look: how pictures were decoded; None: in the usual way.

    Raises:
        DataError: if the cache cannot be written.
    """
    dtype = dtype or ("uint8" if modality == "image" else "float32")
    splits = {
        split: {
            "shape": [n, *shape], "dtype": dtype, "x": _digest(work / f"{split}.x"),
            "labels": _digest(work / f"{split}.labels") if labelled else None,
        }
        for split, n in rows.items()
    }  # fmt: skip
    table = _table(static, layout)
    meta = {
        "format": FORMAT, "modality": modality, "classes": list(classes),
        "fingerprint": fingerprint_of(modality, classes, splits, static, layout, labelling),
        "findings": findings_to_json(as_findings(notes)), "labelling": labelling,
        **({"look": look.to_json()} if look is not None and look.to_json() else {}), "splits": splits, **table,
    }  # fmt: skip
    _finish(work, entry, json.dumps(meta, indent=1))


def fingerprint_of(
    modality: Modality, classes: Sequence[str], splits: Mapping[str, Mapping[str, Any]], static: int,
    layout: Layout | None, labelling: tuple[tuple[int, ...], ...],
) -> str:  # fmt: skip
    """Return the fingerprint of data: hexadecimal SHA-256 of what it is, and of the digests of its arrays.

    Args:
        modality, classes, static, layout, labelling: as in `publish`.
        splits: of each the ``shape`` and ``dtype`` of its rows, and the SHA-256 of ``x`` and ``labels`` (or None).
    """
    # Data without a table or a labelling keeps the fingerprint it always had.
    more = [part for part in (_table(static, layout), labelling) if part]
    return hashlib.sha256(json.dumps([modality, list(classes), splits, *more], sort_keys=True).encode()).hexdigest()


def _table(static: int, layout: Layout | None) -> dict[str, Any]:
    return {} if layout is None else {"static": static, "layout": layout.to_json()}


def _finish(work: Path, entry: Path, meta: str) -> None:
    """Put the description beside the arrays, and all of it in the entry's place once the disk has it."""
    try:
        (work / "meta.json").write_text(meta, encoding="utf-8")
        flush_tree(work)
        _take_place(work, entry)
        flush(entry.parent)
    except OSError as error:
        raise unwritable(error) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE:
        return sha256(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for position in np.linspace(0, size - _BLOCK, 128).astype(np.int64):
            file.seek(int(position))
            digest.update(file.read(_BLOCK))
    return "blocks:" + digest.hexdigest()


def _labelling(meta: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(size) for size in groups) for groups in meta.get("labelling", ()))


def _read_split(entry: Path, split: str, meta: Mapping[str, Any], columns: tuple[int, ...]) -> Split:
    shape, dtype = tuple(int(n) for n in meta["shape"]), np.dtype(str(meta["dtype"]))
    x = _map(entry / f"{split}.x", dtype, shape, meta["x"])
    if meta["labels"] is None:
        return Split(x)
    return Split(x, np.array(_map(entry / f"{split}.labels", np.dtype(np.int64), (shape[0], *columns), meta["labels"])))


def _map(path: Path, dtype: np.dtype, shape: tuple[int, ...], digest: str) -> np.ndarray:
    if path.stat().st_size != dtype.itemsize * int(np.prod(shape)) or _digest(path) != digest:
        raise ValueError("damaged")
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)


def _take_place(work: Path, entry: Path) -> None:
    try:
        os.rename(work, entry)
        return
    except OSError:
        if not entry.exists():
            raise
    if read(entry, entry.name) is not None:
        shutil.rmtree(work, ignore_errors=True)
        return
    damaged = entry.parent / f".damaged-{os.getpid()}-{time.time_ns()}"
    os.rename(entry, damaged)
    shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.rename(work, entry)
    except OSError:
        # a third process may have published between the two renames
        if read(entry, entry.name) is None:
            raise
        shutil.rmtree(work, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for path in folder.glob(".*-*"):
        if path.name.startswith((".build-", ".damaged-")) and time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
