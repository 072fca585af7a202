"""What is in a data set, before a minute is spent on training with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.data import catalogue, in_memory, names
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.flags import shown_size
from saddlepoint.data.images.decode import USUAL, Look, decode, strict_pillow
from saddlepoint.data.images.duplicates import Copies, Pair, repeats
from saddlepoint.data.images.opening import Unreadable, Work
from saddlepoint.data.images.prepare import MAX_UNREADABLE, MIN_ROWS, dedupe_finding, done_findings, plan, survey_source
from saddlepoint.data.images.survey import Survey
from saddlepoint.data.kinds import ARRAYS, is_windows, kind_of
from saddlepoint.data.labels.files import index_labels, resolve_labels
from saddlepoint.data.labels.multi_label import choose_attributes
from saddlepoint.data.load import find_path, joined, load_dataset, refuse_choices
from saddlepoint.data.options import MAX_SIDE, Options, Preparation
from saddlepoint.data.plan import Finding, Note, OpenQuestion, as_findings
from saddlepoint.data.sources import prepared
from saddlepoint.data.sources.folder import Label, Source

_SHOWN = 10


@dataclass(frozen=True)
class Inspection:
    """What `inspect_source` found.

    Attributes:
        name: what was asked for.
        modality: image, vector or sequence.
        rows: rows found, readable or not.
        splits: rows by split that the source names ("" where it names none).
        sizes: number of images by "WIDTHxHEIGHT", most frequent first.
        modes: number of images by Pillow mode.
        classes: number of rows by class name; empty without labels.
        unreadable: (origin, reason) of every image that cannot be used.
        exact_duplicates: rows that repeat an earlier row exactly.
        near_duplicates: pairs of different images that look the same.
        duplicate_examples: origins of the first few equal pairs.
        near_examples: origins of the first few nearly equal pairs.
        findings: how the data is read and what training would do with it, with reasons and options.
        advice: what the user may want to change.
        shape: shape of a training row; None if the data cannot be used as it is.
    """

    name: str
    modality: str
    rows: int
    splits: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()
    exact_duplicates: int = 0
    near_duplicates: int = 0
    duplicate_examples: tuple[tuple[str, str], ...] = ()
    near_examples: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    advice: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None

    @property
    def plan(self) -> tuple[str, ...]:
        """The findings as sentences."""
        return tuple(finding.sentence() for finding in self.findings)

    def to_json(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(asdict(self), indent=2)


@dataclass
class _Seen:
    """What is remembered of the pictures: labels, splits, what was done, and what finds copies of them."""

    survey: Survey
    labels: list[Label] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    copies: Copies = field(default_factory=Copies)
    pairs: list[Pair] = field(default_factory=list)
    look: Look = USUAL

    def examples(self, kind: str) -> tuple[tuple[str, str], ...]:
        """Return the origins of the first few pairs of a kind."""
        found = [(self.copies.origins[i], self.copies.origins[j]) for i, j, of in self.pairs if of == kind]
        return tuple(found[:_SHOWN])

    def count(self, kind: str) -> int:
        """Return the number of pairs of a kind."""
        return sum(of == kind for _, _, of in self.pairs)


@logged
def inspect_source(source: Any, *, say: Say | None = None, **preparation: Unpack[Preparation]) -> Inspection:
    """Look at every row of a data set, without preparing it for training.

    Args:
        source: as in `load_dataset`.
        say: as in `load_dataset`.
        preparation: as in `load_dataset`.

    Returns:
        Counts, duplicates, what training would do with the data, and advice. Data that `load_dataset` would
        refuse for too many unreadable images or too few rows is described all the same, and the advice says
        so.

    Raises:
        DataError: if there is no such data, or it cannot be read at all.
    """
    if not in_memory.is_name(source):
        source = in_memory.hold(source, Options.of(**preparation))
    if in_memory.in_memory(source) and (place := in_memory.path_of(source)) is not None:
        with in_memory.named_the_data(place):
            found = inspect_source(str(place), say=say, **preparation)
        said = tuple(in_memory.renamed(finding, place) for finding in found.findings)
        return replace(found, name=source, findings=said)
    path, options = Path(source).expanduser(), Options.of(**preparation)
    if names.is_series(source) or (source not in catalogue.KNOWN and kind_of(path, options) == "sequence"):
        ready = path.suffix.lower() in ARRAYS and is_windows(path, options)
        return _inspect_series(load_dataset(source, say=say, **preparation), ready)
    options = options.for_images(source)
    opened = _open(source, options, say)
    if len(joined(source)) == 1:
        opened = choose_attributes(opened, options.attributes)
    if opened.modality == "vector":
        return _inspect_vectors(opened)
    with strict_pillow():
        seen = _look(opened, options)
    steps, advice, shape = _outlook(opened, options, seen)
    return Inspection(
        name=source, modality="image", rows=seen.survey.total, splits=dict(Counter(seen.splits)),
        sizes={f"{w}x{h}": n for (w, h), n in seen.survey.sizes.most_common()},
        modes=dict(seen.survey.modes.most_common()), classes=_class_counts(seen.labels, opened.classes),
        unreadable=tuple(seen.survey.unreadable), exact_duplicates=seen.count("exact"),
        near_duplicates=seen.count("near"), duplicate_examples=seen.examples("exact"),
        near_examples=seen.examples("near"), findings=as_findings(steps), advice=tuple(advice), shape=shape,
    )  # fmt: skip


def _open(source: str, options: Options, say: Say | None) -> Source:
    if in_memory.in_memory(source):
        dataset = load_dataset(source, say=say, **options.kept("image"))
        return prepared.dataset_source(dataset, dataset.fingerprint)
    if source in catalogue.KNOWN:
        refuse_choices(source, options)
        local = None if source in names.synthetic.MIXTURES else names.local_source(source)
        if local is not None:
            return local
        dataset = load_dataset(source, say=say)
        return prepared.dataset_source(dataset, dataset.fingerprint)
    if source.startswith("hf:") or len(joined(source)) > 1:
        given = options.kept("image")
        if len(joined(source)) == 1:
            given.pop("attributes", None)
        dataset = load_dataset(source, say=say, **given)
        return prepared.dataset_source(dataset, dataset.fingerprint)
    return find_path(source, options)


@logged
def find_copies(source: str, *, say: Say | None = None, **preparation: Unpack[Preparation]) -> Copies:
    """Look for pictures of a data set that look the same; see `duplicates.write_pairs` for a table of them.

    Args:
        source: as in `load_dataset`.
        say: as in `load_dataset`.
        preparation: as in `load_dataset`.

    Raises:
        DataError: if there is no such data, or it holds no pictures.
    """
    options = Options.of(**preparation).for_images(source)
    opened = _open(source, options, say)
    if opened.modality != "image":
        raise DataError(f"'{source}' holds {opened.modality}s; duplicates are looked for among images")
    with strict_pillow():
        return _look(opened, options).copies


def _look(source: Source, options: Options) -> _Seen:
    seen = _Seen(survey_source(source, options))
    # Too many unreadable pictures are told of later.
    with contextlib.suppress(DataError):
        seen.look = plan(seen.survey, options).look
    again = Survey(grey=False, every=options.pages == "all", work=Work(source.size))
    for item in source.told("comparing"):
        for image, origin in again.pictures(item.payload, item.origin):
            try:
                picture = decode(image, seen.done, seen.look, MAX_SIDE)
            except Unreadable as problem:
                if (origin, str(problem)) not in seen.survey.unreadable:
                    seen.survey.unreadable.append((origin, str(problem)))
                continue
            seen.labels.append(item.label)
            seen.splits.append(item.split)
            seen.copies.add(picture, origin)
    seen.pairs = seen.copies.pairs()
    return seen


def _outlook(source: Source, options: Options, seen: _Seen) -> tuple[list[Note], list[str], tuple[int, ...] | None]:
    """Say what training would do, what the user may want to change, and the shape of a training row."""
    survey, usable = seen.survey, len(seen.labels)
    advice = []
    steps: list[Note] = list(source.notes)
    shape: tuple[int, ...] | None = None
    try:
        decided = plan(survey, options)
        shape = decided.shape
        steps.append(
            f"train on {shown_size(decided.size)} images with {decided.channels} channel{'s'[: decided.channels - 1]}"
        )
        steps += decided.notes
        steps += done_findings(seen.done, survey.total, decided.look)
        every = np.arange(len(seen.labels))
        steps += resolve_labels(source.name, seen.labels, seen.splits, source.classes, options.unlabelled, every)[3]
    except OpenQuestion:
        raise
    except DataError as error:
        shape = None
        advice.append(f"it cannot be used as it is: {error}")
    if usable < MIN_ROWS:
        shape = None
        advice.append(f"{usable} usable images are too few: at least {MIN_ROWS} are needed, better thousands")
    elif usable < 1000:
        advice.append(f"{usable} images are few for a GAN: expect copies of them; augmentation helps")
    if survey.unreadable and shape is not None:
        advice.append(
            f"{len(survey.unreadable)} images cannot be used (one, or up to {MAX_UNREADABLE:.0%}, are skipped): remove "
            "them"
        )
    if options.dedupe:
        steps.append(dedupe_finding(repeats(seen.pairs, seen.splits), survey.total))
    elif repeated := seen.count("exact"):
        advice.append(f"{repeated} images repeat others exactly: unless that is meant, keep one of each (--dedupe)")
    if (near := seen.count("near")) and not options.dedupe:
        advice.append(
            f"{near} pairs of images look the same: near copies make memorisation and its measures worse (--dedupe)"
        )
    counts = sorted(_class_counts(seen.labels, source.classes).values())
    if not source.labelling and len(counts) > 1 and counts[-1] > 10 * max(1, counts[0]):
        advice.append(
            f"classes are uneven ({counts[0]} to {counts[-1]} rows): a conditional model will know the small ones badly"
        )
    return steps, advice, shape


def _inspect_vectors(source: Source) -> Inspection:
    total, unique, labels = 0, set(), []
    splits: Counter[str] = Counter()
    features, low, high = 0, np.inf, -np.inf
    for item in source.told("reading"):
        row = np.asarray(item.payload, dtype=np.float32)
        total, features = total + 1, len(row)
        unique.add(hashlib.blake2b(row.tobytes(), digest_size=16).digest())
        low, high = min(low, float(row.min())), max(high, float(row.max()))
        labels.append(item.label)
        splits[item.split] += 1
    advice = []
    if max(-low, high) > 10:
        advice.append(f"values reach from {low:g} to {high:g}: features of order one train more easily")
    if total < MIN_ROWS:
        advice.append(f"{total} rows are too few: at least {MIN_ROWS} are needed, better thousands")
    return Inspection(
        name=source.name,
        modality="vector",
        rows=total,
        splits=dict(splits),
        classes=_class_counts(labels, source.classes),
        exact_duplicates=total - len(unique),
        findings=as_findings(
            [*source.notes, f"train on vectors of {features} features, from {low:g} to {high:g}, as they are"]
        ),
        advice=tuple(advice),
        shape=(features,) if total >= MIN_ROWS else None,
    )


def _inspect_series(dataset: Dataset, ready: bool = False) -> Inspection:
    counts = {split: len(part) for split, part in dataset.splits.items()}
    train, total = dataset.splits["train"], sum(counts.values())
    held = [part.labels for part in dataset.splits.values() if part.labels is not None]
    labels = [int(i) for indices in held for i in indices]
    repeats = len(train) - len({hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in train.x})
    advice = []
    if len(train) < 1000:
        more = "give more" if ready else "a shorter --window gives more"
        advice.append(f"{len(train):,} training windows are few: expect copies of them; {more}")
    if repeats > len(train) / 100:
        advice.append(f"{repeats:,} training windows repeat others exactly")
    time, features = dataset.spec.shape
    ranges = [Finding("columns", column.described()) for column in dataset.layout.columns] if dataset.layout else []
    steps = (*dataset.findings, *ranges, Finding("windows", f"train on windows of {time} steps of {features} features"))
    return Inspection(
        name=dataset.name, modality="sequence", rows=total, splits=counts,
        classes=_class_counts(labels, dataset.classes), exact_duplicates=repeats, findings=steps, advice=tuple(advice),
        shape=dataset.spec.shape,
    )  # fmt: skip


def _class_counts(labels: Sequence[Label], declared: Sequence[str]) -> dict[str, int]:
    try:
        indices, classes, _ = index_labels([label for label in labels if label is not None], declared)
    except DataError:
        return {}
    if indices is None:
        return {}
    counts: Any = (indices == 1).sum(0) if indices.ndim == 2 else np.bincount(indices, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}
