"""From any source to a cached data set: survey, decode one row at a time, split, publish."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data import cache
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.images.decode import Survey, Unreadable, decode, shape_to, strict_pillow
from saddlepoint.data.labels.files import settle_labels, trained_classes
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Note
from saddlepoint.data.sources.folder import Item, Label, Source, shortened

MIN_ROWS = 5
MAX_UNREADABLE = 0.05
SHARE = 10
"""One row in ten goes to each of valid and test where the source does not say."""


@dataclass(frozen=True)
class Plan:
    """The shape rows will have, and why.

    Attributes:
        size: height and width in pixels.
        channels: 1 or 3.
        notes: sentences for the user.
    """

    size: int
    channels: int
    notes: tuple[str, ...] = ()


@dataclass
class _Rows:
    """What is remembered of the rows written so far (their pixels are on disk)."""

    labels: list[Label] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    shape: tuple[int, ...] = ()

    def add(self, row: np.ndarray, item: Item) -> None:
        self.labels.append(item.label)
        self.splits.append(item.split)
        self.hashes.append(int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "big"))


def prepare(
    source: Source,
    options: Options,
    entry: Path,
    *,
    valid_tail: int | None = None,
    published: Mapping[str, str] | None = None,
) -> Dataset:
    """Decode ``source`` into the cache entry, and open it.

    Rows are written as they are decoded, so memory use does not grow with the data.

    Args:
        source: where rows come from.
        options: size, channels and fit of images.
        entry: folder of the cache entry.
        valid_tail: take this many of the last training rows as valid (the convention of MNIST); fewer,
            one in six, if the training rows are not at least twice as many. None: split by content.
        published: SHA-256 of the images of each split as published, if known: a note says whether they agree.

    Raises:
        DataError: if there are fewer than 5 usable rows, more than 5 % are unreadable, labels do not fit, or
            the cache cannot be written.
    """
    work = cache.workspace(entry)
    try:
        with strict_pillow():
            _build(source, options, work, entry, valid_tail, published or {})
    except OSError as error:
        raise cache.unwritable(error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    dataset = cache.read(entry, source.name)
    if dataset is None:
        raise DataError(f"the cache entry {entry} vanished while it was opened; run the command again")
    return dataset


def plan(survey: Survey, options: Options) -> Plan:
    """Choose size and channels from a survey, unless the options name them.

    Raises:
        DataError: if more than 5 % of the pictures are unreadable, or all of them.
    """
    refuse_unreadable(survey.unreadable, survey.total)
    size, why = (options.size[0], "") if options.size is not None else survey.choose_size()
    channels = options.channels or (1 if survey.grey else 3)
    notes = [why] if why else []
    notes += survey.shape_notes(size, options.fit)
    if options.channels == 1 and not survey.grey:
        notes.append("colour images were converted to grey (ITU-R 601 luma)")
    elif channels == 1 and any(mode in ("RGB", "RGBA", "P", "CMYK") for mode in survey.modes):
        notes.append("all images are grey though stored in colour: one channel is kept")
    elif channels == 3 and survey.grey:
        notes.append("grey images were repeated over three channels, as asked")
    elif channels == 3 and any(mode in ("L", "LA", "1") for mode in survey.modes):
        notes.append("some images are grey: they were repeated over three channels")
    return Plan(size, channels, tuple(notes))


def survey_source(source: Source, *, colours: bool = True) -> Survey:
    """Read the headers of every picture of a source; to know its colours, pixels too while all are grey."""
    survey = Survey(grey=colours)
    for item in source.items():
        survey.add(item.payload, item.origin)
    return survey


def survey_side(source: Source) -> int:
    """Return the side pictures of a source get where no size is asked for, from their headers.

    Raises:
        DataError: as `plan`.
    """
    with strict_pillow():
        return plan(survey_source(source, colours=False), Options()).size


def refuse_unreadable(unreadable: Sequence[tuple[str, str]], total: int) -> None:
    """Raise a DataError with names if too many pictures cannot be used."""
    if len(unreadable) <= MAX_UNREADABLE * total:
        return
    names = [f"{origin}: {reason}" for origin, reason in unreadable]
    raise DataError(
        f"{len(names)} of {total} images cannot be used ({shortened(names)}); "
        f"up to {MAX_UNREADABLE:.0%} are skipped: repair or remove them"
    )


def assign_splits(
    given: Sequence[str], hashes: Sequence[int], valid_tail: int | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decide which row goes where.

    A split that the source does not name is carved out of the training rows: by the hash of the content, so
    that it does not depend on the order of files and equal rows stay together.

    Args:
        given: split named by the source for each row, or "".
        hashes: hash of the content of each row.
        valid_tail: see `prepare`.

    Returns:
        sorted row indices by split, none empty; notes.
    """
    named = {split: [i for i, s in enumerate(given) if s == split] for split in SPLITS}
    pool = [i for i, s in enumerate(given) if s in ("", "train")]
    notes: list[str] = []
    if len(pool) < 3:
        pool, named = list(range(len(given))), {"valid": [], "test": []}
        notes.append("the source has no training rows of its own, so all rows were pooled")
    result = {split: named[split] for split in ("valid", "test") if named[split]}
    if valid_tail is not None and "valid" not in result and "test" in result:
        tail = valid_tail if len(pool) >= 2 * valid_tail else max(1, len(pool) // 6)
        result["valid"], pool = pool[-tail:], pool[:-tail]
        notes.append(f"the last {tail:,} training rows are the valid split")
    wanted = [split for split in ("test", "valid") if split not in result]
    if wanted:
        count = max(1, round(len(pool) / SHARE))
        carved = _carve(pool, hashes, wanted, count)
        result.update(carved)
        taken = {i for rows in carved.values() for i in rows}
        pool = [i for i in pool if i not in taken]
        sizes = " and ".join(f"{len(carved[s]):,} rows for {s}" for s in reversed(wanted))
        notes.append(f"{sizes} were set aside from {len(pool) + len(taken):,}, chosen by a hash of their content")
    result["train"] = pool
    return {split: np.array(result[split], dtype=np.int64) for split in SPLITS}, notes


def _carve(pool: Sequence[int], hashes: Sequence[int], wanted: Sequence[str], count: int) -> dict[str, list[int]]:
    groups: dict[int, list[int]] = {}
    for i in pool:
        groups.setdefault(hashes[i], []).append(i)
    if len(groups) < 3 * len(wanted):
        # so few different rows that groups cannot be kept together: fall back to single rows
        groups = {n: [i] for n, i in enumerate(pool)}
    carved: dict[str, list[int]] = {split: [] for split in wanted}
    for key in sorted(groups):
        for rows in carved.values():
            if len(rows) < count and len(rows) + len(groups[key]) <= max(count, 1):
                rows += groups[key]
                break
    for split, rows in carved.items():
        if not rows:  # every group is larger than the share: take the last rows, duplicates or not
            free = [i for i in pool if not any(i in other for other in carved.values())]
            carved[split] = free[-count:]
    return {split: sorted(rows) for split, rows in carved.items()}


def _build(
    source: Source,
    options: Options,
    work: Path,
    entry: Path,
    valid_tail: int | None,
    published: Mapping[str, str],
) -> None:
    notes: list[Note] = list(source.notes)
    if source.modality == "image":
        rows, decided = _images(source, options, work / "rows")
        notes += decided.notes
        total = len(rows.labels) + len(rows.unreadable)
        refuse_unreadable(rows.unreadable, total)
        notes += [f"{n} of {total} images were {what}" for what, n in rows.done.items()]
        if rows.unreadable:
            names = [f"{origin}: {reason}" for origin, reason in rows.unreadable]
            notes.append(f"{len(names)} of {total} images cannot be used and were skipped ({shortened(names)})")
    else:
        rows = _write_vectors(source, work / "rows")
    if len(rows.labels) < MIN_ROWS:
        raise DataError(
            f"{source.name} holds {len(rows.labels)} usable rows; at least {MIN_ROWS} are needed, better thousands"
        )
    used, labels, classes, label_notes = settle_labels(
        source.name, rows.labels, rows.splits, source.classes, options.unlabelled, np.arange(len(rows.labels))
    )
    given, hashes = [rows.splits[n] for n in used], [rows.hashes[n] for n in used]
    parts, split_notes = assign_splits(given, hashes, valid_tail)
    parts = {split: used[index] for split, index in parts.items()}
    labels, classes, parts, lost = trained_classes(labels, classes, parts, rows.splits)
    notes += [*label_notes, *split_notes, *lost]
    _scatter(work, parts, rows.shape, "uint8" if source.modality == "image" else "float32", labels)
    if published:
        same = all(cache.sha256(work / f"{split}.x") == digest for split, digest in published.items())
        notes.append(f"{'identical to' if same else 'not identical to'} the published data (SHA-256 of the pixels)")
    cache.publish(
        work,
        entry,
        modality=source.modality,
        shape=rows.shape,
        rows={split: len(index) for split, index in parts.items()},
        labelled=labels is not None,
        classes=classes,
        notes=notes,
        labelling=source.labelling if labels is not None else (),
    )


def _images(source: Source, options: Options, path: Path) -> tuple[_Rows, Plan]:
    """Write every picture; in one pass if they turn out to be alike, after a survey if not."""
    survey = Survey()
    rows = _write_images(source, options, survey, path, None)
    if rows is not None:
        return rows, plan(survey, options)
    decided = plan(survey_source(source), options)
    rows = _write_images(source, options, Survey(grey=False), path, decided)
    assert rows is not None
    return rows, decided


def _write_images(source: Source, options: Options, survey: Survey, path: Path, decided: Plan | None) -> _Rows | None:
    """Write pictures of the decided shape, or of the first one's; None if another does not share that."""
    rows = _Rows()
    with open(path, "wb") as file:
        for item in source.items():
            image = survey.add(item.payload, item.origin)
            if image is None:
                continue
            target = decided or _foregone(survey, options)
            if target is None or (rows.shape and rows.shape != (target.channels, target.size, target.size)):
                return None
            rows.shape = (target.channels, target.size, target.size)
            try:
                row = shape_to(decode(image, rows.done), target.size, target.channels, options.fit)
            except Unreadable as problem:
                survey.unreadable.append((item.origin, str(problem)))
                continue
            file.write(row.tobytes())
            rows.add(row, item)
    rows.unreadable = survey.unreadable
    return rows


def _foregone(survey: Survey, options: Options) -> Plan | None:
    """Return the plan that holds if no picture differs from those seen so far; None if it takes a survey."""
    channels = options.channels or (1 if survey.grey else 3)
    if options.size is not None:
        return Plan(options.size[0], channels)
    (width, height), *others = survey.sizes
    return None if others or width != height else Plan(width, channels)


def _write_vectors(source: Source, path: Path) -> _Rows:
    rows = _Rows()
    with open(path, "wb") as file:
        for item in source.items():
            row = np.asarray(item.payload, dtype=np.float32)
            rows.shape = row.shape
            file.write(row.tobytes())
            rows.add(row, item)
    return rows


def _scatter(
    work: Path, parts: Mapping[str, np.ndarray], shape: tuple[int, ...], dtype: str, labels: np.ndarray | None
) -> None:
    everything = np.memmap(work / "rows", dtype=dtype, mode="r").reshape(-1, *shape)
    for split, index in parts.items():
        with open(work / f"{split}.x", "wb") as file:
            for chunk in _chunked(index):
                file.write(everything[chunk].tobytes())
        if labels is not None:
            labels[index].tofile(work / f"{split}.labels")
    del everything  # Windows does not remove a file that is mapped
    (work / "rows").unlink()


def _chunked(index: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(index), 1024):
        yield index[start : start + 1024]
