"""Data in memory by name: ``memory:`` and a digest of its content, under which the cache keeps what was prepared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.durable import make_folder, move_into_place
from saddlepoint.core.errors import DataError
from saddlepoint.core.files import give_usual_mode, write_atomically
from saddlepoint.data import cache
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.identity import entry_of
from saddlepoint.data.images.prepare import prepare
from saddlepoint.data.kinds import array_kind
from saddlepoint.data.labels.multi_label import choose_attributes, choose_labels
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.npz import Peek
from saddlepoint.data.sources.objects import Rows, digest_of, digest_rows, object_source, rows_of_object
from saddlepoint.data.sources.prepared import dataset_source

PREFIX = "memory:"
_MOST_HELD = 2
_LOOKED_AT = 16 * 1024**2
"""Bytes of an array that are looked at to know what it is."""
_HELD: OrderedDict[str, Callable[[Options], Source]] = OrderedDict()
"""What this process was given last: needed to prepare it, not afterwards."""


def is_name(data: object) -> bool:
    """Whether this is a name, a path or an id: anything else is data itself."""
    return isinstance(data, str | Path)


def in_memory(source: str) -> bool:
    """Whether a name stands for data that was given in memory."""
    return source.startswith(PREFIX)


def hold(data: Any, options: Options | None = None) -> str:
    """Take data in memory, and return the name under which it can be loaded.

    Tables and series are written into the cache; arrays and pictures are remembered, without a copy, until they are
    prepared: the last two of a process.

    Args:
        data: see `ACCEPTED`.
        options: ``modality`` tells arrays that may be images from sequences; ``label_column`` chooses labels.

    Returns:
        ``memory:`` and a digest of the content: equal data has the same name, today and in another process.

    Raises:
        DataError: if it is nothing that can be used.
    """
    options = options or Options()
    if isinstance(data, Dataset):
        return _hold_dataset(data)
    if (frame := _frame_of(data)) is not None:
        return _hold_frame(frame)
    parts = rows_of_object(data, options)
    if _kind(parts, options) == "sequence":
        return _hold_series(parts)
    name = PREFIX + digest_of(parts)
    _remember(name, lambda _: object_source(name, parts))
    return name


def forget(name: str) -> None:
    """Let go of data that was held; what the cache has of it stays."""
    _HELD.pop(name, None)


def path_of(name: str) -> Path | None:
    """Return the file in the cache that holds a table or series given in memory; None if it was something else."""
    folder, digest = _folder(), name.removeprefix(PREFIX)
    found = [folder / f"{digest}{ending}" for ending in (".parquet", ".npy", ".npz")]
    return next((path for path in found if path.is_file()), None)


def source_of(name: str, options: Options) -> Source:
    """Return held rows as a source.

    Raises:
        DataError: if this process does not hold them.
    """
    if name not in _HELD:
        raise gone(name)
    return choose_attributes(choose_labels(_HELD[name](options), options), options.attributes)


def load_rows(name: str, options: Options) -> Dataset:
    """Return images or vectors given in memory, from the cache or prepared now.

    Raises:
        DataError: if neither the cache nor this process has them.
    """
    entry = cache.entry_path(name, {"source": name, **options.kept("image")})
    if (dataset := cache.read(entry, name)) is not None:
        return dataset
    if set(options.set_for("image")) <= {"size"} and (dataset := _pointed(name)) is not None:
        _, *sides = dataset.spec.shape
        if options.size is None or tuple(sides) == options.size[::-1]:
            return dataset
    source = source_of(name, options)
    if source.modality == "vector" and (wrong := options.set_for("image")):
        raise DataError(f"the data holds vectors; {wrong[0]} is for images: leave it out")
    return prepare(source, options, entry)


@contextmanager
def named_the_data(path: Path) -> Iterator[None]:
    """Let errors and questions speak of the data, not of the file that the cache keeps of it."""
    try:
        yield
    except OpenQuestion as asked:
        raise OpenQuestion(asked.question.replace(str(path), "the data"), asked.readings) from None
    except DataError as error:
        raise DataError(str(error).replace(str(path), "the data")) from error


def renamed(finding: Finding, path: Path) -> Finding:
    """Return a finding that speaks of the data, not of the file that the cache keeps of it."""
    return dataclasses.replace(finding, says=finding.says.replace(f"read from {path}", "given in memory"))


def gone(name: str) -> DataError:
    """Return the error for data that neither the cache nor this process has."""
    return DataError(
        f"'{name}' was given in memory, and the cache ({cache.cache_dir()}) has it no longer, or not prepared like "
        "this; give the same data again: saddlepoint.resume(path, data=...)"
    )


def _remember(name: str, source: Callable[[Options], Source]) -> None:
    _HELD[name] = source
    _HELD.move_to_end(name)
    while len(_HELD) > _MOST_HELD:
        _HELD.popitem(last=False)


def _folder() -> Path:
    return cache.cache_dir() / "memory"


def _hold_dataset(dataset: Dataset) -> str:
    """Hold a prepared data set: where the cache has it already, by a note that says where."""
    entry = entry_of(dataset)
    name = PREFIX + (_digest_of(dataset) if entry is None else dataset.fingerprint[:16])
    if entry is not None:
        _point(name, entry, dataset.fingerprint)
    elif dataset.modality == "sequence":
        _publish(name, dataset)
    _remember(name, lambda _: dataset_source(dataclasses.replace(dataset, name=name), name))
    return name


def _digest_of(dataset: Dataset) -> str:
    """Return a digest of the content of a data set, whatever its fingerprint says."""
    digest = hashlib.blake2b(digest_size=8)
    about = (dataset.modality, dataset.classes, dataset.static, dataset.labelling, dataset.layout, dataset.look)
    digest.update(repr(about).encode())
    for name, split in sorted(dataset.splits.items()):
        digest.update(repr((name, split.labels is not None)).encode())
        for part in (split.x, split.labels):
            if part is not None:
                digest_rows(digest, part)
    return digest.hexdigest()


def _publish(name: str, dataset: Dataset) -> None:
    """Write sequences into the cache as they are: they cannot be cut anew without their table."""
    entry = cache.entry_path(name, {"source": name})

    def write(work: Path) -> None:
        for split, part in dataset.splits.items():
            np.ascontiguousarray(part.x, dtype=np.float32).tofile(work / f"{split}.x")
            if part.labels is not None:
                np.ascontiguousarray(part.labels, dtype=np.int64).tofile(work / f"{split}.labels")
        cache.publish(
            work, entry, modality=dataset.modality, shape=dataset.spec.shape,
            rows={split: len(part) for split, part in dataset.splits.items()},
            labelled=dataset.splits["train"].labels is not None, classes=dataset.classes, notes=dataset.findings,
            static=dataset.static, layout=dataset.layout, labelling=dataset.labelling, look=dataset.look,
        )  # fmt: skip

    published = cache.read(entry, name) or cache.made(entry, name, write)
    _point(name, entry, published.fingerprint)


def _point(name: str, entry: Path, fingerprint: str) -> None:
    note = json.dumps({"entry": str(entry), "fingerprint": fingerprint})
    _written(_folder() / f"{name.removeprefix(PREFIX)}.json", lambda path: write_atomically(path, note))


def _pointed(name: str) -> Dataset | None:
    try:
        note = json.loads((_folder() / f"{name.removeprefix(PREFIX)}.json").read_text(encoding="utf-8"))
        found = cache.read(Path(note["entry"]), name)
        return found if found is not None and found.fingerprint == note["fingerprint"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _frame_of(data: Any) -> Any:
    """Return a table as a pandas.DataFrame; None if it is no table."""
    pandas, datasets = sys.modules.get("pandas"), sys.modules.get("datasets")
    if datasets is not None and isinstance(data, datasets.Dataset):
        nested = any(not isinstance(f, datasets.Value | datasets.ClassLabel) for f in data.features.values())
        packed = any("binary" in str(kind) for kind in data.features.arrow_schema.types)
        return None if nested or packed else data.with_format(None).to_pandas()
    if pandas is not None and isinstance(data, pandas.Series):
        return data.to_frame()
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return data
    if type(data).__module__.partition(".")[0] == "polars" and hasattr(data, "to_pandas"):
        return data.to_pandas()
    return None


def _hold_frame(frame: Any) -> str:
    """Write a table into the cache."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not len(frame) or not len(frame.columns):
        raise DataError(f"the table is empty ({len(frame)} rows, {len(frame.columns)} columns)")
    if frame.columns.nlevels > 1:
        raise DataError("the table has columns of several levels; join their names, as with df.columns.map('_'.join)")
    if len(set(map(str, frame.columns))) < len(frame.columns):
        raise DataError("the table has columns of the same name; name each once")
    try:
        table = pa.Table.from_pandas(frame.rename(columns=str), nthreads=1)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"the table cannot be kept ({reason}); a column must hold values of one type") from error
    if any("binary" in str(kind) or "struct" in str(kind) for kind in table.schema.types):
        raise DataError("the table has columns of bytes or of records; give pictures as a list, or as a parquet file")
    digest = hashlib.blake2b(digest_size=8)
    with pa.PythonFile(_Hashing(digest), mode="w") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    name = PREFIX + digest.hexdigest()
    _written(_folder() / f"{digest.hexdigest()}.parquet", lambda path: pq.write_table(table, path))
    return name


class _Hashing:
    """A file that keeps nothing but the digest of what is written."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return len(content)

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _kind(parts: Mapping[str, Rows], options: Options) -> str | None:
    """Return what arrays are read as, by the rule for files of them, and add to the rows what is to be said."""
    rows = next(iter(parts.values()))
    if not isinstance(rows.x, np.ndarray):
        return "image"
    few = max(8, _LOOKED_AT // max(1, rows.x[:1].nbytes))
    kind, said = array_kind("the data", Peek(rows.x.shape, rows.x.dtype, rows.x[:few]), options)
    rows.findings += said
    return kind


def _hold_series(parts: Mapping[str, Rows]) -> str:
    """Write sequences into the cache, as a file of arrays is read: (n, time, feature), or one long (time, feature)."""
    if len(parts) > 1:
        raise DataError("the data holds sequences in several parts; give one array: it is split by a stated rule")
    rows = next(iter(parts.values()))
    name = PREFIX + digest_of(parts)
    arrays = {"x": np.asarray(rows.x)}
    if rows.labels is not None:
        if rows.several:
            raise DataError("sequences take one class a window, but the labels are several at once; give one each")
        arrays["y"] = np.array([rows.classes[label] if rows.classes else label for label in rows.labels])  # type: ignore[index]
    target = _folder() / f"{name.removeprefix(PREFIX)}{'.npz' if 'y' in arrays else '.npy'}"

    def save(path: Path) -> None:
        with open(path, "wb") as file:
            if "y" in arrays:
                np.savez(file, allow_pickle=False, **arrays)
            else:
                np.save(file, arrays["x"], allow_pickle=False)

    _written(target, save)
    return name


def _written(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of the cache unless it is there; whole, or not at all."""
    if path.is_file():
        return
    try:
        make_folder(path.parent)
        handle, part = tempfile.mkstemp(prefix=".build-", dir=path.parent)
        os.close(handle)
        try:
            write(Path(part))
            give_usual_mode(Path(part))
            move_into_place(Path(part), path)
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise cache.unwritable(error) from error
