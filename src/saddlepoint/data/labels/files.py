"""Labels as they come to training: class indices without gaps, classes that have images, rows that have a label."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding, OpenQuestion, Reading

Label = int | str | tuple[int, ...] | None
"""A class name, a class index, a number for each class of a labelling (1, 0, or -1: not known), or None."""

_LEAST = 3
"""Training rows below which all rows are pooled."""
MOST_BARE = 0.05
"""Share of training rows without a label up to which they are left out, not asked about."""


def index_labels(
    raw: Sequence[Label], declared: Sequence[str] = ()
) -> tuple[np.ndarray | None, tuple[str, ...], list[Finding]]:
    """Turn labels into indices 0..classes-1.

    Args:
        raw: one label a row, or a number for each declared class; None means it has none.
        declared: class names by index, if the source declares them; these indices are kept.

    Returns:
        int64 indices (rows,) or numbers (rows, classes); None if the data counts as unlabelled. Class names, findings.

    Raises:
        DataError: if an index lies outside the declared names.
    """
    if not raw or all(label is None for label in raw):
        return None, (), []
    bare = sum(label is None for label in raw)
    if bare:
        return None, (), [_finding(f"{bare} of {len(raw)} rows have no label, so labels are not used")]
    if isinstance(raw[0], tuple):
        return _attributes(raw, declared)
    if declared and all(isinstance(label, int) for label in raw):
        return _declared_indices(raw, declared)
    if len({type(label) for label in raw}) > 1:
        raw = [str(label) for label in raw]
    values = sorted({label for label in raw if label is not None}, key=number_or_word)
    places = {value: index for index, value in enumerate(values)}
    findings = []
    if isinstance(values[0], int) and values != list(range(len(values))):
        shown = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
        findings.append(
            _finding(f"labels have gaps ({shown}); they became the classes 0 to {len(values) - 1}, names kept")
        )
    if len(values) == 1:
        findings.append(_finding(f"all labels are the same ('{values[0]}')"))
    indices = np.fromiter((places[label] for label in raw if label is not None), dtype=np.int64, count=len(raw))
    return indices, tuple(str(value) for value in values), findings


def _finding(says: str) -> Finding:
    return Finding("labels", says)


def _declared_indices(raw: Sequence[Any], declared: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[Finding]]:
    indices = np.array(raw, dtype=np.int64)
    if indices.min() < 0 or indices.max() >= len(declared):
        wrong = int(indices.min() if indices.min() < 0 else indices.max())
        raise DataError(f"a label is {wrong}, but the file declares {len(declared)} classes (0 to {len(declared) - 1})")
    return indices, tuple(declared), []


def _attributes(raw: Sequence[Any], declared: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[Finding]]:
    table = np.array(raw, dtype=np.int64)
    absent = [declared[i] for i in range(len(declared)) if not (table[:, i] == 1).any()]
    return table, tuple(declared), [_finding(f"no row has {name}") for name in absent]


def resolve_labels(
    name: str,
    raw: Sequence[Label],
    splits: Sequence[str],
    declared: Sequence[str],
    choice: str | None,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...], list[Finding]]:
    """Decide which of the rows are used, and what their labels are; see `labelled_rows` and `index_labels`.

    A class without training rows can be neither learned nor asked for: it is left out, with its rows in other splits.

    Args:
        name: of the data, for messages.
        raw: label of each row, used or not.
        splits: of each row as the source names it, or "".
        declared: class names by index.
        choice: option ``unlabelled``.
        rows: those that may be used.

    Returns:
        Rows used; labels of all rows (of others 0), or None; class names; findings.
    """
    kept, gaps = labelled_rows(name, [raw[n] for n in rows], [splits[n] for n in rows], choice)
    rows = rows[kept]
    labels, classes, findings = index_labels([raw[n] for n in rows], declared)
    if labels is None:
        return rows, None, classes, [*gaps, *findings]
    trained = np.array([splits[n] in ("", "train") for n in rows], dtype=bool)
    if labels.ndim == 1 and trained.sum() >= _LEAST:
        known = np.isin(labels, labels[trained])
        kept = np.unique(labels[trained])
        if lost := [name for index, name in enumerate(classes) if index not in kept]:
            findings.append(_lost(lost, int((~known).sum())))
        classes = tuple(classes[index] for index in kept)
        rows, labels = rows[known], np.searchsorted(kept, labels[known])
    every = np.zeros((len(raw), *labels.shape[1:]), dtype=np.int64)
    every[rows] = labels
    return rows, every, classes, [*gaps, *findings]


def _lost(names: Sequence[str], rows: int) -> Finding:
    aside = f"; {rows:,} rows of other splits are left out with them" if rows else ""
    return _finding(f"{shortened(names)}: no class, since no training image has this label{aside}")


def trained_classes(
    labels: np.ndarray | None, names: tuple[str, ...], parts: Mapping[str, np.ndarray], named_splits: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...], dict[str, np.ndarray], list[Finding]]:
    """Let training see every class: rows of one that were all set aside by chance go back to it.

    Where none could go back, the class is left out with its rows.

    Args:
        labels: class index of each row (rows,), numbers of several labels (rows, classes), or None.
        names: of the classes.
        parts: rows by split.
        named_splits: split that the source names for each row, or "".

    Returns:
        labels, class names, rows by split, findings.
    """
    rows = {split: np.asarray(index) for split, index in parts.items()}
    if labels is None or labels.ndim == 2 or not names:
        return labels, names, rows, []
    own = np.array([split in ("", "train") for split in named_splits])
    for missing in np.setdiff1d(np.arange(len(names)), labels[rows["train"]]):
        for split in ("valid", "test"):
            back = (labels[rows[split]] == missing) & own[rows[split]]
            if back.any() and not back.all():
                rows["train"] = np.sort(np.r_[rows["train"], rows[split][back]])
                rows[split] = rows[split][~back]
    kept = np.unique(labels[rows["train"]])
    lost = [names[i] for i in range(len(names)) if i not in kept]
    if not lost:
        return labels, names, rows, []
    places = np.full(len(names), -1, dtype=np.int64)
    places[kept] = np.arange(len(kept))
    moved = places[labels]
    dropped = sum(int((moved[index] < 0).sum()) for index in rows.values())
    left = {split: index[moved[index] >= 0] for split, index in rows.items()}
    if not all(len(index) for index in left.values()):
        return labels, names, rows, []
    return moved, tuple(names[i] for i in kept), left, [_lost(lost, dropped)]


def labelled_rows(
    name: str,
    labels: Sequence[Label],
    splits: Sequence[str],
    choice: str | None,
    origins: Sequence[str] = (),
    others: Sequence[Reading] = (),
) -> tuple[np.ndarray, list[Finding]]:
    """Return which rows are used where some have a label and some have none.

    Training rows without a label are left out where they are few, and asked about where they are more; rows without a
    label in other splits are left out.

    Args:
        name: where the labels are, for messages.
        labels: of each row, None where it has none.
        splits: of each row as the source names it, or "".
        choice: ``drop`` or ``keep``, as the user chose; None: by the rule above.
        origins: name of each row, for messages.
        others: further readings that are possible.

    Returns:
        Numbers of the rows used, findings. All rows with labels missing count as unlabelled data.

    Raises:
        OpenQuestion: if more than 5% of the training rows have no label, and some have one.
    """
    everything = np.arange(len(labels))
    bare = np.array([label is None for label in labels], dtype=bool)
    if choice == "keep" or not bare.any() or bare.all():
        return everything, []
    train = np.array([split in ("", "train") for split in splits], dtype=bool)
    if not train.any():
        train[:] = True
    missing, total = int((bare & train).sum()), int(train.sum())
    if missing == total:
        return everything, []
    if missing > MOST_BARE * total and choice is None:
        raise _gap_question(name, labels, bare, missing, total, origins, others)
    counts = [(split or "train", int((bare & (np.array(splits) == split)).sum())) for split in sorted({*splits})]
    where = ", ".join(f"{number:,} of {split}" for split, number in counts if number)
    says = f"{int(bare.sum()):,} of {len(labels):,} images have no label and are left out ({where})"
    return everything[~bare], [Finding("labels", says, "", "--unlabelled keep", sure=choice is not None)]


def _gap_question(
    name: str,
    labels: Sequence[Label],
    bare: np.ndarray,
    missing: int,
    total: int,
    origins: Sequence[str],
    others: Sequence[Reading],
) -> OpenQuestion:
    told, untold = np.flatnonzero(~bare), np.flatnonzero(bare)

    def shown(rows: np.ndarray, with_label: bool) -> list[str]:
        return [
            (origins[i] if origins else f"row {i}") + (f": {labels[i]}" if with_label else "") for i in rows[:2]
        ]  # fmt: skip

    return OpenQuestion(
        f"{missing:,} of {total:,} training images have no label, the others have one ({name})",
        (
            Reading(
                f"only the {len(told):,} images with a label are used", {"unlabelled": "drop"}, shown(told, True)
            ),
            *others,
            Reading(
                f"all {len(labels):,} images are used, none with a label", {"unlabelled": "keep"},
                [*shown(told[:1], False), *shown(untold[:1], False)],
            ),
        ),
    )  # fmt: skip


def number_or_word(value: Any) -> tuple[int, float, str]:
    """Return the place of a class among others: numbers by their value, then words."""
    text = str(value)
    return (0, float(text), text) if re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", text, re.ASCII) else (1, 0.0, text)


def class_index(label: int | str, names: Sequence[str]) -> int:
    """Return the index of a class that is given by its name or its index.

    Raises:
        ConfigError: if there is no such class, with the nearest name.

    >>> class_index("ship", ("cat", "ship")), class_index("0", ("cat", "ship"))
    (1, 0)
    """
    if not names:
        raise ConfigError(f"label '{label}' is asked for, but the generator is unconditional; leave the label out")
    if str(label) in names:
        return list(names).index(str(label))
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    raise ConfigError(f"there is no class '{label}' among the {len(names)}; {suggest(str(label), names)}")
