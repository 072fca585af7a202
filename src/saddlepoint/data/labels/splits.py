"""Splits and classes that folders say: which words name a split, which folder is a class, what is left open."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding, OpenQuestion, Reading

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "validset", "valset"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "eval", "evaluation"), "test"),
}
_BESIDE_IT = "set data dataset image images img imgs picture pictures seg split folder dir full part files"
_BESIDE = frozenset(_BESIDE_IT.split())
"""Words that may stand beside the word of a split: train_images, seg_train, test set."""
_DOMAINS = re.compile(r"(train|valid|val|test)([A-Z])")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def split_word(text: str) -> str:
    """Return the split that a name says in any usual spelling, or "".

    >>> split_word("Training_set"), split_word("val2017"), split_word("seg_test"), split_word("trains")
    ('train', 'valid', 'test', '')
    """
    if domain := _DOMAINS.fullmatch(text):
        return SPLIT_NAMES[domain[1]]
    words = [word for word in re.split(r"[\W_\d]+", _CAMEL.sub(" ", text).lower()) if word]
    found = [word for word in words if word in SPLIT_NAMES]
    return SPLIT_NAMES[found[0]] if len(found) == 1 and {*words} <= {found[0], *_BESIDE} else ""


def split_of_table(stem: str) -> str:
    """Return the split that the name of a table says, whatever else it says, or "".

    >>> split_of_table("trainLabels"), split_of_table("train_test_split")
    ('train', '')
    """
    words = re.split(r"[\W_\d]+", _CAMEL.sub(" ", stem).lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else ""


@dataclass(frozen=True)
class Folders:
    """What the folders of images say.

    Attributes:
        splits: of each image, "" where its folders name none.
        telling: of each image, its folders that may be classes.
        findings: what was decided.
    """

    splits: Mapping[str, str]
    telling: Mapping[str, Sequence[str]]
    findings: tuple[Finding, ...] = ()


def read_folders(images: Sequence[str], choice: str | None = None) -> Folders:
    """Tell folders that are splits from folders that may be classes.

    The first level at which a folder is called train, valid or test decides, if all folders of that level are called
    so. Where others stand beside them, these may be classes (of vehicles: train, bus), and the question is open.

    Args:
        images: paths, relative to the data.
        choice: ``folders``: such folders are splits; ``none``: no folder is; None: by this rule.

    Raises:
        OpenQuestion: where both readings are possible.
    """
    parts = {name: PurePosixPath(name).parts[:-1] for name in images}
    level = None if choice == "none" else _level(parts.values())
    if level is None:
        return Folders(dict.fromkeys(images, ""), parts)
    names = Counter(folders[level] for folders in parts.values() if len(folders) > level)
    others = sorted(name for name in names if not split_word(name))
    if others and choice is None:
        raise _question(parts, level, names, others)
    splits = {name: _split_at(folders, level) for name, folders in parts.items()}
    nested = _repeats(parts, splits, level + 1)
    telling = {name: _without(folders, level, nested) for name, folders in parts.items()}
    found = sorted({folders[level] for folders in parts.values() if _split_at(folders, level)})
    counts = ", ".join(f"{name} {names[name]:,}" for name in found)
    finding = Finding("split", f"folders name the splits: {counts}", "", "--splits none")
    return Folders(splits, telling, (finding,))


def folder_classes(folders: Folders) -> tuple[dict[str, str | None], list[str]]:
    """Return the class of each image, its first folder that is not the same for all; and folders deeper than that.

    Images that lie in no such folder have none.
    """
    deep = [tuple(telling) for telling in folders.telling.values() if telling]
    first, last = min(deep, default=()), max(deep, default=())
    shared = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    if 0 < shared == len(last):
        shared -= 1  # all images lie in one folder: that is their class
    found = {name: parts[shared] if len(parts) > shared else None for name, parts in folders.telling.items()}
    return found, sorted({part for parts in folders.telling.values() for part in parts[shared + 1 :]})


def look_like_shards(classes: Mapping[str, str | None]) -> bool:
    """Whether folders may be parts of one long list of files, as StyleGAN's and FFHQ's are: 00000/img00000012.png.

    They are then called by numbers of at least four digits, and the numbers of their files do not overlap.
    """
    names = {label for label in classes.values() if label is not None}
    if len(names) < 2 or not all(re.fullmatch(r"\d{4,}", name) for name in names):
        return False
    spans: dict[str, list[int]] = {}
    for name, label in classes.items():
        digits = re.findall(r"\d+", PurePosixPath(name).stem)
        if label is None or len(digits) != 1 or len(digits[0]) > 17:
            return False
        spans.setdefault(label, []).append(int(digits[0]))
    ends = [(min(spans[name]), max(spans[name])) for name in sorted(spans, key=int)]
    return all(before[1] < after[0] for before, after in pairwise(ends))


def _level(parts: Iterable[Sequence[str]]) -> int | None:
    """Return the first level at which a folder is called like a split."""
    found = [at for folders in parts for at, folder in enumerate(folders) if split_word(folder)]
    return min(found, default=None)


def _split_at(folders: Sequence[str], level: int) -> str:
    return split_word(folders[level]) if len(folders) > level else ""


def _repeats(parts: Mapping[str, Sequence[str]], splits: Mapping[str, str], level: int) -> bool:
    """Whether the next level only says the splits once more, as in training_set/training_set/cats."""
    again = [(split_word(folders[level]), splits[name]) for name, folders in parts.items() if len(folders) > level]
    return bool(again) and all(inner and inner == outer for inner, outer in again)


def _without(folders: Sequence[str], level: int, nested: bool) -> tuple[str, ...]:
    """Return the folders of a path without that of the split; of trainA and testB (CycleGAN) A and B stay."""
    if not _split_at(folders, level):
        return tuple(folders)
    domain = _DOMAINS.fullmatch(folders[level])
    rest = folders[level + 1 + nested :]
    return (*folders[:level], *((domain[2],) if domain else ()), *rest)


def _question(
    parts: Mapping[str, Sequence[str]], level: int, names: Mapping[str, int], others: Sequence[str]
) -> OpenQuestion:
    words = [name for name in names if split_word(name)]

    def rows(choice: str) -> list[str]:
        read = read_folders(list(parts), choice)
        classes, _ = folder_classes(read)
        shown = {parts[name][level]: name for name in reversed([*parts]) if len(parts[name]) > level}
        picked = [shown[name] for name in (words[0], others[0])]
        return [f"{name}: split {read.splits[name] or 'not said'}, class {classes[name] or 'none'}" for name in picked]

    return OpenQuestion(
        f"folders {shortened(words)} may be splits, but stand beside {shortened(others)}, which are none",
        (
            Reading(f"{shortened(words)}: splits; images of the other folders are for training", {"splits": "folders"},
                    rows("folders")),
            Reading("no folder is a split: they are classes like the others", {"splits": "none"}, rows("none")),
        ),
    )  # fmt: skip
