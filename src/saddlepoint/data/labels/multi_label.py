"""Data sets whose rows carry several labels at once: some attributes of a table, several data sets as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.flags import flag
from saddlepoint.data.labels.attributes import ATTRIBUTE_FILES
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.folder import Item, Source
from saddlepoint.data.sources.prepared import label_of_row


def choose_attributes(source: Source, names: Sequence[str]) -> Source:
    """Return a source with some of its attributes only, in the order asked for; all where no name is given.

    Raises:
        DataError: if it has no table of attributes, or none of that name.
    """
    if not names:
        return source
    if not source.labelling:
        raise DataError(f"'{source.name}' has no table of attributes ({ATTRIBUTE_FILES[0]}); leave the attributes out")
    for name in names:
        if name not in source.classes:
            raise DataError(f"'{source.name}' has no attribute '{name}'; {suggest(name, source.classes)}")
    columns = [source.classes.index(name) for name in names]

    def items() -> Iterator[Item]:
        for item in source.items():
            assert isinstance(item.label, tuple)
            yield replace(item, label=tuple(item.label[column] for column in columns))

    note = f"{len(names)} of {len(source.classes)} attributes are used: {', '.join(names)}"
    return replace(source, items=items, classes=tuple(names), labelling=((1,) * len(names),)).with_notes(note)


def choose_labels(source: Source, options: Options) -> Source:
    """Return a source without labels where none are wanted; refuse choices that its reader knows nothing of.

    Raises:
        DataError: if a choice is for other kinds of data.
    """
    for name in ("labels", "label_column", "splits"):
        value = getattr(options, name)
        if value is None or name in source.heeds:
            continue
        if (name, value) != ("labels", "none"):
            raise DataError(
                f"'{source.name}' has no folders or tables to choose from; {flag(name)} is for these: leave it out"
            )
        source = _unlabelled(source)
    return source


def _unlabelled(source: Source) -> Source:
    def items() -> Iterator[Item]:
        for item in source.items():
            yield replace(item, label=None)

    bare = replace(source, items=items, classes=(), labelling=())
    return bare.with_notes(Finding("labels", "no labels are used, as asked"))


def multi_label_source(name: str, datasets: Sequence[Dataset]) -> Source:
    """Return several data sets of images as one: a row says which classes of its own set hold, and -1 of the others.

    Args:
        name: of the result.
        datasets: prepared to the same size, each with labels.

    Raises:
        DataError: if one has no labels, or their images differ in size.
    """
    sides = {dataset.spec.shape[-1] for dataset in datasets if dataset.modality == "image"}
    for dataset in datasets:
        if dataset.modality != "image" or not dataset.classes:
            raise DataError(f"'{dataset.name}' cannot be joined: it must hold images with labels")
    if len(sides) > 1:
        raise DataError(f"'{name}' holds images of {' and '.join(map(str, sorted(sides)))} pixels; choose one --size")
    widths = [len(dataset.classes) for dataset in datasets]
    labelling = tuple(part for d, width in zip(datasets, widths, strict=True) for part in d.labelling or ((width,),))

    def items() -> Iterator[Item]:
        for number, dataset in enumerate(datasets):
            before, after = ((-1,) * sum(part) for part in (widths[:number], widths[number + 1 :]))
            for split in SPLITS:
                part = dataset.splits[split]
                assert part.labels is not None
                for row, pixels in enumerate(part.x):
                    own = _several(label_of_row(part.labels[row]), widths[number])
                    label = (*before, *own, *after)
                    yield Item(np.asarray(pixels).transpose(1, 2, 0), label, f"{dataset.name} {split} row {row}", split)

    key = "joint\n" + "\n".join(dataset.fingerprint for dataset in datasets)
    notes = [f"{dataset.name}: {note}" for dataset in datasets for note in dataset.notes]
    notes.append("label sets: " + "; ".join(f"{d.name} has {', '.join(d.classes)}" for d in datasets))
    return Source(name, key, items, classes=_told_apart(datasets), notes=tuple(notes), labelling=labelling)


def _several(label: int | tuple[int, ...], classes: int) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else tuple(int(index == label) for index in range(classes))


def _told_apart(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the names of all classes; one that two sets have comes with the set's number."""
    names = [name for dataset in datasets for name in dataset.classes]
    return tuple(
        name if names.count(name) == 1 else f"{name}-{number}"
        for number, dataset in enumerate(datasets, start=1)
        for name in dataset.classes
    )
