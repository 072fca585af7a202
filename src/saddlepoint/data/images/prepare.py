"""From any source to a cached data set: survey, decode one row at a time, split, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data import cache, limits
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images import decode as decoding
from saddlepoint.data.images.decode import USUAL, Look, decode, ground_of, strict_pillow
from saddlepoint.data.images.depth import Levels, choose_levels
from saddlepoint.data.images.duplicates import Copies, repeats
from saddlepoint.data.images.opening import Unreadable, Work
from saddlepoint.data.images.shape import shape_to
from saddlepoint.data.images.splits import assign_splits, keep_all
from saddlepoint.data.images.survey import Survey
from saddlepoint.data.labels.files import resolve_labels, trained_classes
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.sources.folder import Item, Label, Source

MIN_ROWS = 5
MAX_UNREADABLE = 0.05
"""More than this share of unreadable pictures is refused; one is always skipped."""


@dataclass(frozen=True)
class Plan:
    """The shape rows will have, and why.

    Attributes:
        size: (width, height) in pixels.
        channels: 1, 3 or 4.
        look: how pictures are decoded.
        notes: what to tell the user.
    """

    size: tuple[int, int]
    channels: int
    look: Look = USUAL
    notes: tuple[Note, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of a row."""
        return self.channels, self.size[1], self.size[0]


@dataclass
class _Rows:
    """What is remembered of the rows written so far (their pixels are on disk)."""

    labels: list[Label] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    shape: tuple[int, ...] = ()
    copies: Copies = field(default_factory=Copies)
    paged: bool = False

    def add(self, row: np.ndarray, item: Item, file: bytes | None = None) -> None:
        """Remember a row; ``file`` is what all pages of its file have in common."""
        self.labels.append(item.label)
        self.splits.append(item.split)
        content = blake2b(row.tobytes() if file is None else file, digest_size=8)
        self.hashes.append(int.from_bytes(content.digest(), "big"))


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

    def write(work: Path) -> None:
        with strict_pillow():
            _build(source, options, work, entry, valid_tail, published or {})

    return cache.made(entry, source.name, write)


def plan(survey: Survey, options: Options) -> Plan:
    """Choose size, channels and levels from a survey, unless the options name them.

    Raises:
        DataError: if more than 5 % of the pictures are unreadable, or all of them.
    """
    refuse_unreadable(survey.unreadable, survey.total)
    notes: list[Note] = []
    size = options.size
    if size is None:
        size, chosen = survey.choose_size()
        notes += chosen
    channels = options.channels or (1 if survey.grey else 3)
    look = look_for(options)
    notes += survey.shape_findings(size, options.fit, decoding.colour_name(look.ground))
    if note := _channels_note(survey, options.channels, channels):
        notes.append(note)
    if survey.values:
        levels, said = choose_levels(survey.extents, options.levels)
        look = replace(look, levels=levels)
        notes += said
    if options.depth != 8 and survey.deep:
        notes.append(Finding("depth", "values are kept in 16 bits", "", "--depth 8"))
    elif options.depth != 8:
        says = "values are kept in 16 bits as asked, though no image has more than 8"
        notes.append(Finding("depth", says, "", "--depth 8"))
    elif survey.deep:
        notes.append(Finding("depth", "256 levels are kept of each value", "", "--depth 16"))
    notes += survey.paged.findings(options.pages)
    return Plan(size, channels, look, tuple(notes))


def look_for(options: Options) -> Look:
    """Return how pictures are decoded as far as the options say.

    Raises:
        DataError: if the background is no colour.
    """
    levels = Levels() if options.levels is None else Levels(options.levels, options.levels)
    return Look(ground_of(options.background), options.channels == 4, options.depth, levels)


def _channels_note(survey: Survey, asked: int | None, channels: int) -> Finding | None:
    stored_grey = any(mode in ("L", "LA", "1") for mode in survey.modes)
    stored_colour = any(mode in ("RGB", "RGBA", "P", "CMYK", "RGB;16", "RGBA;16") for mode in survey.modes)
    says = ""
    if asked == 1 and not survey.grey:
        says = "colour images were converted to grey (ITU-R 601 luma)"
    elif channels == 1 and stored_colour:
        says = "all images are grey though stored in colour: one channel is kept"
    elif channels == 3 and survey.grey:
        says = "grey images were repeated over three channels, as asked"
    elif channels == 3 and stored_grey:
        says = "some images are grey: they were repeated over three channels"
    elif channels == 4:
        says = "the fourth channel is opacity; images without transparency are opaque throughout"
    return Finding("colour", says, "", "--channels 1, 3 or 4") if says else None


def survey_source(source: Source, options: Options, *, colours: bool = True) -> Survey:
    """Look at every picture of a source.

    Args:
        source: of images.
        options: whether pages are pictures, whether levels are named.
        colours: whether its colours and values are asked for: pixels are decoded while all are grey, and of deep ones.
    """
    survey = Survey(grey=colours, every=options.pages == "all", values=colours, work=Work(source.size))
    for item in source.told("looking at"):
        for _ in survey.pictures(item.payload, item.origin):
            pass
    return survey


def survey_side(source: Source) -> int:
    """Return the side that pictures of a source get where no size is asked for, from their headers.

    Raises:
        DataError: as `plan`.
    """
    with strict_pillow():
        return plan(survey_source(source, Options(), colours=False), Options()).size[0]


def refuse_unreadable(unreadable: Sequence[tuple[str, str]], total: int) -> None:
    """Raise a DataError with names if too many pictures cannot be used."""
    if len(unreadable) <= max(1, MAX_UNREADABLE * total):
        return
    names = [f"{origin}: {reason}" for origin, reason in unreadable]
    raise DataError(
        f"{len(names)} of {total} images cannot be used ({shortened(names)}); "
        f"one, or up to {MAX_UNREADABLE:.0%}, are skipped: repair or remove them"
    )


def _build(
    source: Source, options: Options, work: Path, entry: Path, valid_tail: int | None, published: Mapping[str, str]
) -> None:
    notes: list[Note] = list(source.notes)
    dtype, look = "float32", Look()
    left: dict[int, str] = {}
    if source.modality == "image":
        rows, decided = _images(source, options, work / "rows")
        look, dtype = decided.look, "uint8" if decided.look.depth == 8 else "uint16"
        total = len(rows.labels) + len(rows.unreadable)
        refuse_unreadable(rows.unreadable, total)
        notes += [*decided.notes, *done_findings(rows.done, total, decided.look)]
        if rows.unreadable:
            names = [f"{origin}: {reason}" for origin, reason in rows.unreadable]
            notes.append(f"{len(names)} of {total} images cannot be used and were skipped ({shortened(names)})")
        if options.dedupe:
            left = repeats(rows.copies.pairs(), rows.splits)
            notes.append(dedupe_finding(left, total))
    else:
        rows = _write_vectors(source, work / "rows")
    staying = np.array([n for n in range(len(rows.labels)) if n not in left], dtype=np.int64)
    if len(staying) < MIN_ROWS:
        raise DataError(
            f"{source.name} holds {len(staying)} usable rows; at least {MIN_ROWS} are needed, better thousands"
        )
    used, labels, classes, label_notes = resolve_labels(
        source.name, rows.labels, rows.splits, source.classes, options.unlabelled, staying
    )
    given, hashes = [rows.splits[n] for n in used], [rows.hashes[n] for n in used]
    if options.splits == "all":
        parts, split_notes = keep_all(hashes)
    else:
        parts, split_notes = assign_splits(given, hashes, valid_tail, files=rows.paged)
    parts = {split: used[index] for split, index in parts.items()}
    labels, classes, parts, lost = trained_classes(labels, classes, parts, rows.splits)
    notes += [*label_notes, *split_notes, *lost]
    _scatter(work, parts, rows.shape, dtype, labels)
    if published:
        same = all(cache.sha256(work / f"{split}.x") == digest for split, digest in published.items())
        notes.append(f"{'identical to' if same else 'not identical to'} the published data (SHA-256 of the pixels)")
    cache.publish(
        work, entry, modality=source.modality, shape=rows.shape,
        rows={split: len(index) for split, index in parts.items()}, labelled=labels is not None, classes=classes,
        notes=notes, labelling=source.labelling if labels is not None else (), dtype=dtype, look=look,
    )  # fmt: skip


def done_findings(done: Mapping[str, int], total: int, look: Look) -> list[Finding]:
    """Say how many pictures were converted, with the option that changes it."""
    options = {
        decoding.laid_text(look): ("alpha", "--background COLOUR, or --channels 4", False),
        decoding.kept_text(look): ("alpha", "--background COLOUR, or --channels 3", True),
    }
    found = []
    for what, n in done.items():
        topic, option, sure = options.get(what, ("depth" if "bits" in what else "colour", "", True))
        found.append(Finding(topic, f"{n} of {total} images were {what}", "", option, sure))
    return found


def dedupe_finding(left: Mapping[int, str], total: int) -> Finding:
    """Say how many pictures were left out since they look like another."""
    kinds = Counter(left.values())
    says = (
        f"{len(left):,} of {total:,} images look like another and were left out: {kinds['exact']:,} repeat one "
        f"exactly, {kinds['near']:,} nearly; one of each group stays, a held-out one before a training one"
    )
    return Finding("duplicates", says, "", "without --dedupe all stay")


def _images(source: Source, options: Options, path: Path) -> tuple[_Rows, Plan]:
    """Write every picture; in one pass if they turn out to be alike, after a survey if not."""
    survey = Survey(every=options.pages == "all", work=Work(source.size))
    rows = _write_images(source, options, survey, path, None)
    if rows is not None:
        return rows, plan(survey, options)
    decided = plan(survey_source(source, options), options)
    again = Survey(grey=False, every=options.pages == "all", work=Work(source.size))
    rows = _write_images(source, options, again, path, decided)
    assert rows is not None
    return rows, decided


def _write_images(source: Source, options: Options, survey: Survey, path: Path, decided: Plan | None) -> _Rows | None:
    """Write pictures of the decided shape, or of the first one's; None if another does not share that."""
    rows = _Rows()
    with open(path, "wb") as file:
        for item in source.told("reading"):
            before = survey.paged.files
            for image, origin in survey.pictures(item.payload, item.origin):
                target = decided or _foregone(survey, options)
                if target is None or (rows.shape and rows.shape != target.shape):
                    return None
                rows.shape = target.shape
                try:
                    picture = decode(image, rows.done, target.look, max(target.size))
                except Unreadable as problem:
                    survey.unreadable.append((origin, str(problem)))
                    continue
                row = shape_to(picture, target.size, target.channels, options.fit, target.look.ground)
                file.write(row.tobytes())
                of_pages = survey.every and survey.paged.files > before and isinstance(item.payload, bytes)
                of = item.file.encode() or None
                if of_pages and isinstance(item.payload, bytes):
                    of = item.payload
                rows.add(row, item, of)
                rows.paged |= of is not None
                if options.dedupe:
                    rows.copies.add(picture, origin)
    rows.unreadable = survey.unreadable
    return rows


def _foregone(survey: Survey, options: Options) -> Plan | None:
    """Return the plan that holds if no picture differs from those seen so far; None if it takes a survey."""
    if survey.deep:
        return None
    channels, look = options.channels or (1 if survey.grey else 3), look_for(options)
    if options.size is not None:
        return Plan(options.size, channels, look)
    (size, *others) = survey.sizes
    return None if others or size[0] != size[1] else Plan(size, channels, look)


def _write_vectors(source: Source, path: Path) -> _Rows:
    rows, work = _Rows(), Work(source.size)
    with open(path, "wb") as file:
        for item in source.told("reading"):
            row = np.asarray(item.payload, dtype=np.float32)
            rows.shape = row.shape
            work.file(row)
            work.add(limits.WORK_OF_ROW + row.size / 3, item.origin)
            file.write(row.tobytes())
            rows.add(row, item)
    return rows


def _scatter(
    work: Path, parts: Mapping[str, np.ndarray], shape: tuple[int, ...], dtype: str, labels: np.ndarray | None
) -> None:
    everything = np.memmap(work / "rows", dtype=dtype, mode="r").reshape(-1, *shape)
    for split, index in parts.items():
        with open(work / f"{split}.x", "wb") as file:
            for start in range(0, len(index), 1024):
                file.write(everything[index[start : start + 1024]].tobytes())
        if labels is not None:
            labels[index].tofile(work / f"{split}.labels")
    del everything  # Windows does not remove a file that is mapped
    (work / "rows").unlink()
