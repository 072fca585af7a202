"""Arrays of windows that are ready: (n, time, feature)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.data import cache, limits
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.labels.files import index_labels
from saddlepoint.data.options import MAX_WINDOW, MIN_SIDE, MIN_WINDOW, Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.series.layout import Column, Layout
from saddlepoint.data.sources.arrays import to_label
from saddlepoint.data.sources.extras import check_room
from saddlepoint.data.sources.folder import stamp
from saddlepoint.data.sources.npz import Held, open_arrays
from saddlepoint.data.tables.long_array import column_names
from saddlepoint.data.tables.numbers import decimals_of

RULES = 1
"""Raised whenever windows would be prepared differently."""
LEAST_WINDOWS = 5
SHARE = 10
"""One window in ten goes to each of valid and test."""
_LARGEST = 1e30
_LOOKED_AT = 2000
_SHUFFLED = 0.1
"""More of the rows of test windows than this among the training ones: windows overlap, and were shuffled."""


@dataclass
class _Windows:
    """Windows of all splits.

    Attributes:
        x: float64 (n, time, feature) by split.
        labels: by split, or None.
        names: of the features.
        notes: what was decided.
    """

    x: dict[str, np.ndarray]
    labels: dict[str, np.ndarray | None]
    names: list[str]
    notes: list[Note] = field(default_factory=list)


def load_ready(name: str, path: Path, options: Options) -> Dataset:
    """Read windows (n, time, feature) that are ready from a .npy or .npz file, or open what an earlier call kept.

    Args:
        name: what the user asked for.
        path: the file. Of an .npz: ``x`` (or ``x_train``, ``x_test``), and if there are any ``y`` and ``columns``.
        options: ``columns`` by the names of the file, or x1, x2, ...; ``array`` names the array of an .npz.

    Raises:
        DataError: if it is damaged, of another shape, or the cache cannot be written.
    """
    key = {"source": f"windows {RULES}\n" + stamp([path], path.parent), **options.kept("table")}
    entry = cache.entry_path(name, key)
    found = cache.read(entry, name)
    if found is not None:
        return found
    held = open_arrays(path, options.array)
    windows = _windows(path, held, options)
    return cache.made(entry, name, lambda work: _build(path, windows, work, entry))


def _windows(path: Path, held: Held, options: Options) -> _Windows:
    """Return float64 windows by split."""
    parts = held.parts
    first = next(iter(parts.values()))[0]
    for split, (x, _) in parts.items():
        if x.ndim != 3 or x.dtype.kind not in "buif" or not x.size or x.shape[1:] != first.shape[1:]:
            raise DataError(f"{path}: {split or 'the array'} is {x.dtype} of shape {x.shape}, but windows are (n, "
                            "time, feature), alike in all parts")  # fmt: skip
    steps, features = first.shape[1:]
    if not MIN_WINDOW <= steps <= MAX_WINDOW:
        raise DataError(f"{path} holds windows of {steps} rows, but a window has {MIN_WINDOW} to {MAX_WINDOW}")
    if options.window not in (None, steps):
        raise DataError(f"--window is {options.window}, but {path} holds ready windows of {steps} rows; leave it out")
    limits.check_table(str(path), sum(x.size for x, _ in parts.values()), path.stat().st_size)
    check_room(path, "the windows", sum(8 * x.size for x, _ in parts.values()))
    names = column_names(path, held, features)
    taken = list(range(features))
    if options.columns is not None:
        for name in options.columns:
            if name not in names:
                raise DataError(f"{path} has no feature '{name}' (--columns); {suggest(name, names)}")
        taken = [place for place, name in enumerate(names) if name in options.columns]
    with np.errstate(invalid="ignore"):  # odd forms of NaN
        values = {split: np.asarray(x, np.float64)[..., taken] for split, (x, _) in parts.items()}
    labels: dict[str, np.ndarray | None] = {}
    for split, (x, y) in parts.items():
        labels[split] = None if y is None else np.asarray(y)
        if y is not None and y.reshape(len(y), -1).shape != (len(x), 1):
            raise DataError(f"{path} holds {len(x)} windows but labels of shape {y.shape}; give one label for each")
    found = _Windows(values, labels, [names[place] for place in taken])
    n = sum(len(x) for x in values.values())
    found.notes.append(Finding("series", f"{n:,} ready windows of {steps} steps and {features} features",
                               f"an array of shape {first.shape}", *_undone(steps, features, options)))  # fmt: skip
    return _split(path, found)


def _undone(steps: int, features: int, options: Options) -> tuple[str, bool]:
    """Return the option that reads windows as images, where they can be, and whether none does."""
    chosen = options.modality is not None or min(steps, features) < MIN_SIDE
    return ("", True) if chosen else ("--modality image", False)


def _split(path: Path, windows: _Windows) -> _Windows:
    """Share out the windows in blocks of their order where the file does not say splits."""
    x, labels = windows.x, windows.labels
    if "test" in x and "valid" in x and ("train" in x or "" in x):
        windows.x = {"train" if s == "" else s: v for s, v in x.items()}
        windows.labels = {"train" if s == "" else s: v for s, v in labels.items()}
        return windows
    given = "test" if "test" in x else "valid" if "valid" in x else ""
    pool = next(split for split in ("train", "", *x) if split in x)
    rows, y = x[pool], labels[pool]
    if len(rows) < LEAST_WINDOWS:
        raise DataError(f"{path} holds {len(rows)} windows; at least {LEAST_WINDOWS} are needed, better thousands")
    wanted = [split for split in ("valid", "test") if split != given or given == pool]
    part = max(1, round(len(rows) / SHARE))
    stride, between = _overlap(rows), 0
    if stride:
        between = -(-rows.shape[1] // stride) - 1
        if len(rows) - len(wanted) * (part + between) < 1:
            raise DataError(f"{path} holds {len(rows)} windows, each of which shares rows with the next {between}: too "
                            "few for three parts without shared rows; give more")  # fmt: skip
    found = {given: x[given]} if given and given != pool else {}
    of = {given: labels[given]} if found else {}
    end = len(rows)
    for split in reversed(wanted):
        found[split], of[split] = rows[end - part : end], None if y is None else y[end - part : end]
        end -= part + between
    found["train"], of["train"] = rows[:end], None if y is None else y[:end]
    shares = f"the last {100 // SHARE}% of the windows are test, the {100 // SHARE}% before valid"
    if given:
        shares = f"the last {100 // SHARE}% of the training windows are {wanted[0]}"
    gap = f"; {between} windows before each part are left out, which share rows with it" if between else ""
    why = f"windows overlap: each begins {stride} rows after the one before" if stride else "neighbours may overlap"
    windows.notes.append(Finding("split", shares + ", in their order" + gap, why))
    windows.x, windows.labels = found, of
    if not stride and (shared := _shared(found["train"], found["test"])) > _SHUFFLED:
        windows.notes.append(Finding(
            "split", f"{shared:.0%} of the rows of test windows stand in training windows too: figures on held-out "
            "windows will be too good; the long series itself would be split by time",
            "windows seem to overlap and to be shuffled",
            sure=False,
        ))  # fmt: skip
    return windows


def _overlap(x: np.ndarray) -> int:
    """Return after how many rows each window begins where all overlap alike; 0 if they do not."""
    few = x[: min(len(x), 200)]
    for stride in range(1, x.shape[1]):
        same = (few[1:, :-stride] == few[:-1, stride:]).all(axis=(1, 2))
        if same.mean() > 0.9 and not (few[1:, :-stride] == few[1:2, :1]).all():
            return stride
    return 0


def _shared(train: np.ndarray, test: np.ndarray) -> float:
    """Return the share of rows of test windows that stand in training windows, by a hash of each row."""
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 2**63, train.shape[2], dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def hashes(x: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(x.reshape(-1, x.shape[2])).view(np.uint64)
        found: np.ndarray = (bits * odd).sum(axis=1, dtype=np.uint64)
        return found

    held, asked = hashes(train), hashes(test)
    # Rows that are frequent by themselves, such as zeros, say nothing.
    values, counts = np.unique(held, return_counts=True)
    rare = values[counts <= 2 * train.shape[1]]
    asked = asked[:: max(1, len(asked) // _LOOKED_AT)]
    return float(np.isin(asked, rare).mean()) if len(np.unique(asked)) > len(asked) / 2 else 0.0


def _build(path: Path, windows: _Windows, work: Path, entry: Path) -> None:
    notes = windows.notes
    notes += _fill(path, windows)
    order = list(windows.names)
    static = [i for i in range(len(order)) if _is_static(windows.x, i)]
    if len(static) == len(order):
        raise DataError(f"{path}: no feature changes along its windows; a sequence needs one that does")
    places = [i for i in range(len(order)) if i not in static] + static
    train = windows.x["train"]
    columns = []
    for i in places:
        values = train[..., i]
        everything = np.concatenate([x[..., i].reshape(-1) for x in windows.x.values()])
        columns.append(Column(order[i], float(np.nanmin(values)), float(np.nanmax(values)), decimals_of(everything)))
    constant = [column.name for column in columns if column.low == column.high]
    if len(constant) == len(columns):
        raise DataError(f"{path}: every feature is constant ({shortened(constant, 8)}); there is nothing to learn")
    for text, names in (
        ("constant, and kept so", constant),
        ("whole numbers, and kept so", [column.name for column in columns if column.decimals == 0]),
        ("the same along each window (static)", [order[i] for i in static]),
    ):
        notes += [Finding("columns", f"{text}: {shortened(names, 8)}")] if names else []
    layout = Layout(tuple(columns), tuple(order), None, "", whole=not _overlap(train))
    classes, indices, said = _classes(windows.labels, {split: len(x) for split, x in windows.x.items()})
    notes += said
    for split in SPLITS:
        layout.scale(windows.x[split][..., places]).astype(np.float32).tofile(work / f"{split}.x")
        if indices is not None:
            indices[split].tofile(work / f"{split}.labels")
    cache.publish(
        work, entry, modality="sequence", shape=(train.shape[1], len(columns)),
        rows={split: len(windows.x[split]) for split in SPLITS}, labelled=indices is not None, classes=classes,
        notes=notes, static=len(static), layout=layout,
    )  # fmt: skip


def _fill(path: Path, windows: _Windows) -> list[Note]:
    """Fill missing values within windows along straight lines; NaN after the end of a window stays.

    Raises:
        DataError: if a value is infinite, a window is empty, or more than half of a feature is missing.
    """
    count = 0
    means = np.nanmean(windows.x["train"], axis=(0, 1))
    for split, x in windows.x.items():
        if (np.abs(x) > _LARGEST).any():
            raise DataError(f"{path} holds values beyond {_LARGEST:g}, or infinite ones ({split}); rescale it, and let "
                            "NaN stand where values are missing")  # fmt: skip
        gone = np.isnan(x)
        if not gone.any():
            continue
        rows = gone.all(axis=2)
        lengths = x.shape[1] - np.argmin(rows[:, ::-1], axis=1)
        if rows.all(axis=1).any():
            raise DataError(f"{path}: window {int(rows.all(axis=1).argmax())} of {split} holds no value; leave it out")
        inside = gone & (np.arange(x.shape[1])[None, :, None] < lengths[:, None, None])
        if (inside.sum(axis=(0, 1)) > x.shape[0] * x.shape[1] / 2).any():
            raise DataError(f"{path}: more than half of the values of a feature are missing; leave it out: --columns")
        for window, feature in np.argwhere(inside.any(axis=1)):
            values, missing = x[window, : lengths[window], feature], inside[window, : lengths[window], feature]
            there = np.flatnonzero(~missing)
            at = np.flatnonzero(missing)
            values[at] = np.interp(at, there, values[there]) if len(there) else means[feature]
        count += int(inside.sum())
    return [Finding("missing", f"{count:,} missing values lie on straight lines between neighbours in their window")
            ] if count else []  # fmt: skip


def _is_static(parts: Mapping[str, np.ndarray], feature: int) -> bool:
    """Whether a feature stays the same along every window, but differs between windows."""
    columns = [x[..., feature] for x in parts.values()]
    along = all(((c == c[:, :1]) | np.isnan(c)).all() for c in columns)
    return bool(along and len(np.unique(np.concatenate([c[:, 0] for c in columns]))) > 1)


def _classes(
    labels: Mapping[str, np.ndarray | None], rows: Mapping[str, int]
) -> tuple[tuple[str, ...], dict[str, np.ndarray] | None, Sequence[Any]]:
    """Return names of the classes, and class indices by split; None without labels."""
    if any(held is None for held in labels.values()):
        return (), None, []
    joined = [to_label(value) for split in SPLITS for value in np.asarray(labels[split]).reshape(rows[split])]
    indices, classes, notes = index_labels(joined, ())
    if indices is None:
        return (), None, notes
    ends = np.cumsum([rows[split] for split in SPLITS])[:-1]
    return classes, dict(zip(SPLITS, np.split(indices, ends), strict=True)), notes
