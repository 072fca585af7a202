"""From names and files beside them to labels and splits: which source of labels counts, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import for_shell, shortened
from saddlepoint.data.labels.attributes import (
    ATTRIBUTE_FILES,
    PARTITION_FILES,
    match_attributes,
    name_labels,
    read_attributes,
    read_partition,
)
from saddlepoint.data.labels.files import Label, labelled_rows
from saddlepoint.data.labels.images import Images
from saddlepoint.data.labels.parse import TABLE_SUFFIXES
from saddlepoint.data.labels.splits import Folders, folder_classes, look_like_shards, read_folders
from saddlepoint.data.labels.tables import LABEL_FILES, LabelTable, column_names, read_table, unknown_column
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading

_TEXTS = (*LABEL_FILES, *ATTRIBUTE_FILES, *PARTITION_FILES)
_NO_LABELS = "submission"
"""In the name of a table: an example of an answer, whose labels are made up."""


def may_say_labels(name: str) -> bool:
    """Whether a file beside images is looked into for labels or splits."""
    return PurePosixPath(name).name in _TEXTS or name.lower().endswith(TABLE_SUFFIXES)


def must_say_labels(name: str) -> bool:
    """Whether a file beside images is called as label files are, so that leaving it aside would be a surprise."""
    return PurePosixPath(name).name in _TEXTS


_MASKS = {"mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations", "gt"}
"""Names of folders that hold a mask for each picture of another folder."""


@dataclass(frozen=True)
class Arranged:
    """What is known of the images of a folder beside their pixels.

    Attributes:
        images: those that are used, in the order given.
        labels: by name; empty: none.
        splits: by name, "" where nothing says it.
        classes, labelling: of labels that are several numbers each; see `DataSpec`.
        findings: where they come from, and what was decided.
        used: files that were read for it.
    """

    images: Sequence[str]
    labels: Mapping[str, Label] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    labelling: tuple[tuple[int, ...], ...] = ()
    findings: tuple[Finding, ...] = ()
    used: frozenset[str] = frozenset()


def arrange(where: str, images: Sequence[str], texts: Mapping[str, bytes], options: Options | None = None) -> Arranged:
    """Give every image its label and split: from a table of attributes, label tables, its name, or its folders.

    Args:
        where: the data, for messages.
        images: paths of images, relative to it.
        texts: content of the files that `may_say_labels`, by path.
        options: ``labels``, ``label_column``, ``splits`` and ``unlabelled`` choose where several readings are possible.

    Raises:
        DataError: if a label file does not fit the images, or a choice names nothing that is there.
        OpenQuestion: where several readings are possible and none is chosen.
    """
    options = options or Options()
    folders = read_folders(images, options.splits)
    found = _labels(where, images, texts, folders, options)
    splits = {name: found.splits.get(name) or folders.splits[name] for name in images}
    if options.splits == "none":
        splits = dict.fromkeys(images, "")
    found = replace(found, splits=splits, findings=(*folders.findings, *found.findings))
    return _without_gaps(where, found, folders, options)


def _without_gaps(where: str, found: Arranged, folders: Folders, options: Options) -> Arranged:
    """Leave out images without a label where the others have one; or all labels, as the user chose."""
    if not found.labels:
        return found
    labels = [found.labels.get(name) for name in found.images]
    splits = [found.splits[name] for name in found.images]
    others = []
    classes = folder_classes(folders)[0].values()
    if found.used and all(classes) and len({*classes}) > 1:
        others = [Reading("classes are the folders", {"labels": "folders"})]
    said_by = f"{where}/{min(found.used)}" if found.used else where
    kept, said = labelled_rows(said_by, labels, splits, options.unlabelled, found.images, others)
    images = [found.images[i] for i in kept]
    findings = (*found.findings, *said)
    if any(found.labels.get(name) is None for name in images):
        bare = sum(label is None for label in labels)
        says = f"{bare:,} of {len(labels):,} images have no label, so labels are not used"
        findings = (*findings, Finding("labels", says, "", "--unlabelled drop", sure=options.unlabelled == "keep"))
        return replace(found, labels={}, classes=(), labelling=(), findings=findings)
    return replace(found, images=images, findings=findings)


def _labels(
    where: str, images: Sequence[str], texts: Mapping[str, bytes], folders: Folders, options: Options
) -> Arranged:
    choice = options.labels
    if choice == "none":
        return Arranged(images, findings=(Finding("labels", "no labels are used, as asked"),))
    if choice not in (None, "folders", "names"):
        texts = _chosen(where, texts, choice)
    if choice not in ("folders", "names"):
        by_kind = {PurePosixPath(name).name: name for name in sorted(texts, reverse=True)}
        for kind in ATTRIBUTE_FILES:
            if kind in by_kind:
                return _by_attributes(where, images, texts, by_kind, by_kind[kind])
        tables, passed = _tables(where, images, texts, folders, options)
        if tables:
            return _joined(images, tables, passed)
    else:
        passed = []
    if choice in (None, "names"):
        if named := name_labels(images):
            said = Finding("labels", "classes are the expressions that the file names say", "as those of the Radboud "
                           "Faces Database do", "--labels none", sure=False)  # fmt: skip
            return Arranged(images, dict(named), findings=(said, *passed))
        if choice == "names":
            raise DataError(f"the file names of {where} say no expressions as those of the Radboud Faces Database do; "
                            "leave --labels out")  # fmt: skip
    return _by_folders(images, folders, choice == "folders", passed)


def _chosen(where: str, texts: Mapping[str, bytes], choice: str | None) -> dict[str, bytes]:
    """Return the label file that the user names."""
    found = {name: data for name, data in texts.items() if choice in (name, PurePosixPath(name).name)}
    if not found:
        raise DataError(
            f"{where} holds no label file '{choice}'; {suggest(str(choice), ['folders', 'names', 'none', *texts])}"
        )
    return found


def _by_attributes(
    where: str, images: Sequence[str], texts: Mapping[str, bytes], by_kind: Mapping[str, str], name: str
) -> Arranged:
    table = read_attributes(f"{where}/{name}", texts[name])
    labels, findings = match_attributes(name, table, images)
    splits: dict[str, str] = {}
    used = {name}
    partition = next((by_kind[kind] for kind in PARTITION_FILES if kind in by_kind), None)
    if partition is not None:
        parts = read_partition(f"{where}/{partition}", texts[partition])
        splits = {image: parts.get(PurePosixPath(image).name, "") for image in images}
        findings.append(Finding("split", f"splits were read from {partition}", "", "--splits none"))
        used.add(partition)
    return Arranged(
        images, labels, splits, table.names, ((1,) * len(table.names),), tuple(findings), frozenset(used)
    )  # fmt: skip


def _tables(
    where: str, images: Sequence[str], texts: Mapping[str, bytes], folders: Folders, options: Options
) -> tuple[list[LabelTable], list[Finding]]:
    """Return the label tables that say something, and what to say of the others."""
    index = Images(images, folders.splits)
    files = [name for name in texts if PurePosixPath(name).name not in (*ATTRIBUTE_FILES, *PARTITION_FILES)]
    tables: list[LabelTable] = []
    made_up = []
    for name in sorted(files):
        if _NO_LABELS in PurePosixPath(name).name.lower() and options.labels is None:
            made_up.append(name)
            continue
        table = read_table(where, name, texts[name], index, options.label_column)
        if table is not None:
            tables.append(table)
    if options.label_column is not None and not any(table.labels for table in tables):
        raise unknown_column(options.label_column, [c for name in files for c in column_names(name, texts[name])])
    if options.labels is not None and not tables:
        raise DataError(f"{where}/{options.labels} holds no labels of these images; leave --labels out")
    said = []
    if made_up:
        said = [Finding("labels", f"not read, being examples of an answer: {shortened(made_up)}", "", "--labels FILE")]
    labelled = [table for table in tables if table.labels] or [table for table in tables if table.none]
    said += [finding for table in tables if not (table.labels or table.none) for finding in table.findings]
    return labelled, said


def _joined(images: Sequence[str], tables: Sequence[LabelTable], said: Sequence[Finding]) -> Arranged:
    """Put the labels of several tables together: those of different folders, or that agree.

    Raises:
        OpenQuestion: if two tables give an image different labels.
    """
    first, labels, splits, by = tables[0], dict[str, Label](), dict[str, str](), dict[str, LabelTable]()
    for table in tables:
        for name, label in table.labels.items():
            before = by.setdefault(name, table)
            if before.classes != table.classes or labels.setdefault(name, label) != label:
                raise _which_table(name, before, table)
        splits |= table.splits
        if table.classes != first.classes:
            kinds = "; ".join(shortened(one.classes) or "one class" for one in (first, table))
            raise DataError(
                f"{first.file} and {table.file} give labels of different kinds ({kinds}); choose one with "
                f"{for_shell('--labels', first.file)} or {for_shell('--labels', table.file)}"
            )
    labelling = ((1,) * len(first.classes),) if first.classes else ()
    findings = tuple(dict.fromkeys(finding for table in tables for finding in table.findings))
    used = frozenset(table.file for table in tables)
    ordered = {name: labels[name] for name in images if name in labels}
    return Arranged(images, ordered, splits, first.classes, labelling, (*findings, *said), used)


def _which_table(name: str, before: LabelTable, table: LabelTable) -> OpenQuestion:
    readings = [
        Reading(f"labels come from {one.file}", {"labels": one.file}, [f"{name}: {one.labels[name]}"])
        for one in (before, table)
    ]
    return OpenQuestion(f"{before.file} and {table.file} give {name} different labels", readings)


def _by_folders(images: Sequence[str], folders: Folders, asked: bool, passed: Sequence[Finding]) -> Arranged:
    """Take folders as classes where most images lie in one."""
    classes, deeper = folder_classes(folders)
    outside = [name for name, label in classes.items() if label is None]
    train = [name for name in images if folders.splits[name] in ("", "train")] or list(images)
    bare = [name for name in train if classes[name] is None]
    if len(outside) == len(images):
        if asked:
            raise DataError("the images lie in no folders that could be classes; leave --labels out")
        return Arranged(images, findings=tuple(passed))
    if 2 * len(bare) > len(train) and not asked:
        says = (
            f"{len(outside)} of {len(images)} images lie outside the subfolders ({shortened(outside)}), so subfolders "
            "were not taken as classes"
        )
        return Arranged(images, findings=(Finding("labels", says, "", "--labels folders", sure=False), *passed))
    if not asked and look_like_shards(classes):
        raise _shards(images, classes)
    within = f"; folders within them ({shortened(deeper)}) say nothing" if deeper else ""
    count = len({label for label in classes.values() if label is not None})
    said = Finding("labels", f"classes are the {count} subfolders{within}", "", "--labels none", sure=not deeper)
    return Arranged(images, dict(classes), findings=(said, *_like_masks(classes), *passed))


def _like_masks(classes: Mapping[str, str | None]) -> list[Finding]:
    """Return notes on classes that look like masks of the pictures of another: by their name and those of their files.

    Where masks were taken for a class, half of what is learned is masks.
    """
    stems: dict[str, set[str]] = {}
    for name, label in classes.items():
        if label is not None:
            stems.setdefault(label, set()).add(PurePosixPath(name).stem)
    notes = []
    for label, files in stems.items():
        if label.lower() not in _MASKS:
            continue
        twin = next((other for other in stems if other != label and len(files & stems[other]) > 0.9 * len(files)), None)
        if twin is not None:
            says = f"'{label}' looks like masks of '{twin}', but is learned as a class"
            notes.append(Finding("labels", says, "its files are named alike", f"name the folder {twin} alone",
                                 sure=False))  # fmt: skip
    return notes


def _shards(images: Sequence[str], classes: Mapping[str, str | None]) -> OpenQuestion:
    names = sorted({str(label) for label in classes.values()}, key=int)
    return OpenQuestion(
        f"folders {shortened(names, 3)} look like parts of one long list: the numbers of their files go on from one to "
        "the next",
        (
            Reading("parts of a list: no classes", {"labels": "none"}, [f"{images[0]}: no label"]),
            Reading(f"{len(names)} classes", {"labels": "folders"}, [f"{images[0]}: {classes[images[0]]}"]),
        ),
    )
